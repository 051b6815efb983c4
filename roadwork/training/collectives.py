"""Sums and rows over all processes that share a batch; with one process, what was given."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed

__all__ = ["all_mean", "all_rows", "all_sum"]


def _shared() -> bool:
    return distributed.is_available() and distributed.is_initialized()


@torch.no_grad()
def all_sum(values: Tensor) -> Tensor:
    """The sum of a tensor over all processes; no gradient."""
    if not _shared():
        return values.detach()
    total = values.detach().clone()
    distributed.all_reduce(total)
    return total


@torch.no_grad()
def all_mean(values: Tensor) -> Tensor:
    """The mean of a tensor over all processes; no gradient."""
    return all_sum(values) / (distributed.get_world_size() if _shared() else 1)


def all_rows(values: Tensor) -> Tensor:
    """Rows (N, …) of all processes in order, (W N, …); gradients return to whom they concern.

    Every process must have the same number of rows.
    """
    return _AllRows.apply(values) if _shared() else values


class _AllRows(torch.autograd.Function):
    """Gather forwards; backwards the gradients of all processes are summed, each takes its own."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        parts = [torch.empty_like(values) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, values.contiguous())
        ctx.rows = len(values)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        distributed.all_reduce(total)
        start = distributed.get_rank() * ctx.rows
        return total[start : start + ctx.rows]
