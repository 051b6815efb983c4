"""Aggregators: features of one global view and its tiles become one vector per photograph.

The whole picture and the tiles are kept apart, because they show things at different sizes: the
result is the global feature beside the pooled tile features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from roadwork.settings import ViewSettings

__all__ = ["AGGREGATORS", "AggregatorInfo", "aggregate", "aggregate_width"]


@dataclass(frozen=True)
class AggregatorInfo:
    """One entry of the registry: pools tile features (N, T, D) to (N, D)."""

    title: str
    pool: Callable[[Tensor, int], Tensor]


def _topk_mean(tiles: Tensor, k: int) -> Tensor:
    return tiles.topk(k, dim=1).values.mean(dim=1)


AGGREGATORS: Mapping[str, AggregatorInfo] = {
    "max": AggregatorInfo("largest value over the tiles", lambda tiles, k: tiles.amax(dim=1)),
    "mean": AggregatorInfo("mean over the tiles", lambda tiles, k: tiles.mean(dim=1)),
    "topk_mean": AggregatorInfo("mean of the k largest values over the tiles", _topk_mean),
}


def aggregate_width(features: int, views: ViewSettings) -> int:
    """Length of the vector that :func:`aggregate` gives for features of length D."""
    return features if views.tiles == 0 else 2 * features


def aggregate(features: Tensor, views: ViewSettings) -> Tensor:
    """Pool features of shape (N, 1 + T, D) to (N, D) without tiles, to (N, 2 D) with them."""
    if views.tiles == 0:
        return features[:, 0]
    pooled = AGGREGATORS[views.aggregator].pool(features[:, 1:], views.top_k)
    return torch.cat([features[:, 0], pooled], dim=1)
