"""Sharding: a network whose weights are cut among several processes (FSDP).

Zhao et al., "PyTorch FSDP: Experiences on Scaling Fully Sharded Data Parallel", VLDB 2023
(2304.11277), in PyTorch's second form, ``fully_shard``. Each process keeps one part of every
weight, of its gradient and of the optimizer's state; a block's weights are put together for as
long as it computes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from roadwork.errors import ConfigError

__all__ = ["cut_like", "shard", "whole"]


def shard(module: nn.Module, mesh: DeviceMesh) -> None:
    """Cut the weights of a module, in place: of each of its ``blocks`` alone, then of the rest.

    What the module is called by afterwards must be its own call, and that of its blocks. It cannot
    be undone: build the module anew, and load :func:`whole` weights.

    Raises:
        ConfigError: a weight is a single number, as some of DoRAN's are.
    """
    for name, parameter in module.named_parameters():
        if not parameter.ndim:
            raise ConfigError(
                f"compute.strategy: fsdp cannot cut {name}, which is a single number (the adapters "
                "doran_tau and doran_full have such): use ddp, or another finetune.adapter"
            )
    # Also after the forward pass: whatever reads or changes weights between two steps (moving
    # averages, ScheduleFree, copies of the best pass) must find those that the optimizer has.
    for part in [*getattr(module, "blocks", ()), module]:
        if any(True for _ in part.parameters()):
            fully_shard(part, mesh=mesh, reshard_after_forward=True)


def whole(value: Any) -> Any:
    """Cut tensors put together, also within dicts, lists and tuples; everything else as it is.

    All processes must call it together.
    """
    if isinstance(value, DTensor):
        return value.full_tensor()
    if isinstance(value, dict):
        return {key: whole(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(whole(part) for part in value)
    return value


@torch.no_grad()
def cut_like(value: Tensor, pattern: Tensor) -> Tensor:
    """This process's part of a whole tensor, cut as ``pattern`` is; as it is if that is not cut."""
    if not isinstance(pattern, DTensor) or value.shape != pattern.shape:
        return value
    value = value.to(pattern.device)
    return distribute_tensor(value, pattern.device_mesh, pattern.placements, src_data_rank=None)
