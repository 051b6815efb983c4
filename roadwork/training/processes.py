"""Processes that train together: who they are, how they meet, and what each of them takes.

One process is the rule. Where ``compute.processes`` asks for several, they share every batch: each
computes the features of its own slice, and from there on all see the whole batch
(:mod:`roadwork.training.collectives`). So they learn what one process learns, up to rounding. They
are started by :mod:`roadwork.training.launch`; or torchrun has started them already, as Kubeflow's
Trainer does, and tells each who it is in ``RANK``, ``WORLD_SIZE``, ``LOCAL_RANK`` and
``LOCAL_WORLD_SIZE``.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed, nn

from roadwork.errors import ConfigError
from roadwork.settings import ComputeSettings

__all__ = [
    "Group",
    "average_gradients",
    "cores",
    "current",
    "join",
    "must_launch",
    "require_devices",
    "warn_of_cores",
]

logger = logging.getLogger(__name__)

# The first process may fit a probe on millions of rows, for which the others wait.
_PATIENCE = timedelta(hours=2)


@dataclass(frozen=True)
class Group:
    """One process among those that train together; by default it is alone.

    Attributes:
        rank: its number among all.
        world: how many there are.
        local_rank: its number on this machine, and that of its GPU.
        local_world: how many there are on this machine.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1

    @property
    def first(self) -> bool:
        """Whether this process speaks and writes for all."""
        return self.rank == 0

    @property
    def shared(self) -> bool:
        """Whether there are others."""
        return self.world > 1

    def share(self, rows: int) -> NDArray[np.int64]:
        """The rows of 0 … rows - 1 that this process scores, in order.

        Every process has equally many, so that all take the same steps; the last row is repeated
        where they do not come out even. The shares one behind the other begin with all rows.
        """
        size = -(-rows // self.world)
        return np.minimum(np.arange(self.rank * size, (self.rank + 1) * size), rows - 1)

    def gather(self, scores: Tensor, rows: int) -> Tensor:
        """Scores (rows, …) of all rows, from those of each process's :meth:`share`."""
        if not self.shared:
            return scores
        parts = [torch.empty_like(scores) for _ in range(self.world)]
        distributed.all_gather(parts, scores.contiguous())
        return torch.cat(parts)[:rows]

    def at_first(self, scores: Tensor, rows: int) -> Tensor | None:
        """As :meth:`gather`, for the first process; the others are given nothing."""
        if not self.shared:
            return scores
        parts = [torch.empty_like(scores) for _ in range(self.world)] if self.first else None
        distributed.gather(scores.contiguous(), parts)
        return None if parts is None else torch.cat(parts)[:rows]

    def from_first(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The first process's values; all bring an array of the same shape."""
        if self.shared:
            told = torch.from_numpy(values.copy())
            distributed.broadcast(told, 0)
            return told.numpy()
        return values

    def wait(self) -> None:
        """Until all processes have come here."""
        if self.shared:
            distributed.barrier()

    def agreed(self, value: bool) -> bool:
        """A fact that every process sees for itself.

        Raises:
            ConfigError: they do not all see the same.
        """
        if not self.shared:
            return value
        seen = torch.tensor([int(value)])
        distributed.all_reduce(seen)
        if int(seen) not in (0, self.world):
            raise ConfigError(
                f"{int(seen)} of {self.world} processes see the checkpoint of this run, the others "
                "do not: `runs` must be a folder that all machines share"
            )
        return value


def _told() -> Group:
    """What torchrun's environment says; alone where it says nothing.

    Raises:
        ConfigError: it says half of it.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        return Group()
    if "RANK" not in os.environ:
        raise ConfigError(
            f"the environment variable WORLD_SIZE is {world}, but RANK is not set: torchrun sets "
            "both; for a single process, unset WORLD_SIZE"
        )
    local = int(os.environ.get("LOCAL_RANK", "0")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return Group(int(os.environ["RANK"]), world, *local)


def must_launch(settings: ComputeSettings) -> bool:
    """Whether several processes are wanted, and this is none of them yet."""
    return settings.processes > 1 and not _told().shared


def current() -> Group:
    """This process among those that it has joined."""
    return _told() if distributed.is_available() and distributed.is_initialized() else Group()


def join(settings: ComputeSettings) -> Group:
    """Meet the other processes, if there are any; a second call changes nothing.

    Raises:
        ConfigError: the settings name another number of processes than there are, or there are
            more processes than GPUs.
    """
    group = _told()
    if not group.shared:
        return group
    if settings.processes not in (1, group.world):
        raise ConfigError(
            f"compute.processes is {settings.processes}, but {group.world} processes were started "
            "(WORLD_SIZE): make them equal, or leave compute.processes out"
        )
    require_devices(group.local_world)
    if distributed.is_initialized():
        return group
    # Lightning reads both without asking whether they are there.
    os.environ.setdefault("LOCAL_RANK", str(group.local_rank))
    os.environ.setdefault("GROUP_RANK", str(group.rank // group.local_world))
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(group.local_rank)
        backend = "cpu:gloo,cuda:nccl"
    distributed.init_process_group(backend, timeout=_PATIENCE)
    return group


def cores() -> int:
    """How many cores of the CPU this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def require_devices(processes: int) -> None:
    """Refuse more processes on this machine than it has GPUs; without any, the CPU serves all.

    Raises:
        ConfigError: with both numbers.
    """
    if torch.cuda.is_available() and processes > torch.cuda.device_count():
        raise ConfigError(
            f"compute.processes: {processes} processes would share {torch.cuda.device_count()} "
            "GPU(s) of this machine: use no more processes than GPUs"
        )


def warn_of_cores(processes: int) -> None:
    """Where the CPU computes, more processes than cores only wait for each other."""
    if not torch.cuda.is_available() and processes > cores():
        logger.warning(
            "compute.processes: %d processes share %d core(s) of the CPU: fewer are faster",
            processes,
            cores(),
        )


@torch.no_grad()
def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Mean over all processes of gradients that were computed beside the usual step.

    Sharded ones stay: they were averaged when they were cut.
    """
    group = current()
    if not group.shared:
        return
    for parameter in parameters:
        if parameter.grad is not None and not hasattr(parameter.grad, "full_tensor"):
            distributed.all_reduce(parameter.grad)
            parameter.grad.div_(group.world)
