"""Heads: what of a backbone's output describes a view.

A vision transformer gives one class token and a token for each patch. DINOv3's own linear probe
takes the class token beside the mean of the patches (Siméoni et al., 2508.10104); its register
tokens describe nothing and are left out of the mean. A convolutional network gives pooled features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["HEADS", "HeadInfo"]


@dataclass(frozen=True)
class HeadInfo:
    """One entry of the registry.

    Attributes:
        title: for people.
        pooling: timm's ``global_pool`` of a vision transformer: ``token`` gives the class token
            (B, D), the empty word all tokens (B, P + N, D) with P prefix tokens first.
        width: length of the result in units of D.
        read: what the network gives, and P, to (B, width D).
    """

    title: str
    pooling: str
    width: int
    read: Callable[[Tensor, int], Tensor]


def _mean(tokens: Tensor, prefix: int) -> Tensor:
    return tokens[:, prefix:].mean(dim=1)


def _both(tokens: Tensor, prefix: int) -> Tensor:
    return torch.cat([tokens[:, 0], _mean(tokens, prefix)], dim=1)


HEADS: Mapping[str, HeadInfo] = {
    "cls": HeadInfo("class token, or pooled features", "token", 1, lambda pooled, prefix: pooled),
    "mean": HeadInfo("mean of the patch tokens", "", 1, _mean),
    "cls_mean": HeadInfo("class token beside the mean of the patch tokens", "", 2, _both),
}
