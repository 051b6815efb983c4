"""Schedules: how the learning rate moves over the steps of a run.

Every schedule begins with the same linear warm-up over a twentieth of the steps; what follows is a
function of the share of the remaining steps that are done. The rates of all parameter groups move
together, so that layer-wise decay stays as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from roadwork.training.layer_decay import weight_groups

__all__ = ["SCHEDULES", "ScheduleInfo", "adamw", "rate_factor", "scheduled", "warmup_steps"]

_FLOOR = 0.02  # share of the rate at which a falling schedule ends
_COOLDOWN = 0.2  # share of the steps after the warm-up in which warmup_stable_decay falls


@dataclass(frozen=True)
class ScheduleInfo:
    """One schedule.

    Attributes:
        title: for people.
        shape: factor of the rate at a share in [0, 1] of the steps after the warm-up.
        reference: where it is defined.
    """

    title: str
    shape: Callable[[float], float]
    reference: str


def _cosine(done: float) -> float:
    return _FLOOR + (1 - _FLOOR) * 0.5 * (1 + math.cos(math.pi * done))


def _linear(done: float) -> float:
    return 1 - (1 - _FLOOR) * done


def _constant(done: float) -> float:
    return 1.0


def _warmup_stable_decay(done: float) -> float:
    fallen = max(0.0, done - (1 - _COOLDOWN)) / _COOLDOWN
    return 1 - (1 - _FLOOR) * math.sqrt(fallen)


SCHEDULES: Mapping[str, ScheduleInfo] = MappingProxyType(
    {
        "cosine": ScheduleInfo(
            "half a cosine to 2 %",
            _cosine,
            "Loshchilov and Hutter, ICLR 2017, arXiv 1608.03983, without restarts",
        ),
        "linear": ScheduleInfo("a line to 2 %", _linear, "Devlin et al., arXiv 1810.04805"),
        "constant": ScheduleInfo("the rate stays", _constant, "none"),
        "warmup_stable_decay": ScheduleInfo(
            "the rate stays for four fifths, then falls as 1 - sqrt to 2 %",
            _warmup_stable_decay,
            "Hu et al., arXiv 2404.06395; the shape of the fall: Hägele et al., arXiv 2405.18392",
        ),
    }
)
"""By ``finetune.schedule``."""


def warmup_steps(steps: int) -> int:
    """A twentieth of all steps, at least one."""
    return max(1, steps // 20)


def rate_factor(name: str, step: int, steps: int, warmup: int) -> float:
    """Factor of the learning rate at ``step``, counted from 0, of ``steps``.

    During the warm-up ``(step + 1) / (warmup + 1)``, so that no step is taken with a rate of zero.
    """
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return SCHEDULES[name].shape(min(1.0, (step - warmup) / max(1, steps - warmup)))


def scheduled(optimizer: Optimizer, name: str, steps: int) -> dict[str, Any]:
    """A schedule of all steps on an optimizer, moved after every step, as Lightning wants it."""
    warmup = warmup_steps(steps)
    schedule = LambdaLR(optimizer, lambda step: rate_factor(name, step, steps, warmup))
    return {"scheduler": schedule, "interval": "step"}


def adamw(module: nn.Module, rate: float, decay: float, steps: int) -> tuple[AdamW, dict[str, Any]]:
    """AdamW and its cosine over all steps, as Lightning wants them."""
    optimizer = AdamW(weight_groups(module, rate, decay))
    return optimizer, scheduled(optimizer, "cosine", steps)
