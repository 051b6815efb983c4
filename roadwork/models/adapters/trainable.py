"""The weights that training changes: which they are, copies of them, and putting those back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from roadwork.models.sharding import whole

__all__ = ["freeze_batch_statistics", "restore_trainable", "trainable", "trainable_state"]


def trainable(network: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Parameters that training changes."""
    return ((name, p) for name, p in network.named_parameters() if p.requires_grad)


def trainable_state(network: nn.Module) -> dict[str, Tensor]:
    """Copies of what training changes, put together where several processes share it."""
    return {name: whole(p.detach()).cpu().clone() for name, p in trainable(network)}


@torch.no_grad()
def restore_trainable(network: nn.Module, state: Mapping[str, Any]) -> None:
    """Put back what :func:`trainable_state` copied."""
    for name, parameter in trainable(network):
        parameter.copy_(state[name])


def freeze_batch_statistics(network: nn.Module) -> None:
    """Keep batch normalisation at its learned statistics: batches here are small and correlated."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
