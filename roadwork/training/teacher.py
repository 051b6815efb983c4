"""The teacher of self-distillation: a moving average of the student that grows slower and softer.

Both schedules are DINO's (Caron et al., 2104.14294, section 3.1 and appendix), over shares of the
run instead of a number of passes.
"""

from __future__ import annotations

import math

import torch
from torch import nn

__all__ = ["follow", "teacher_momentum", "teacher_temperature"]


def teacher_momentum(step: int, steps: int, start: float) -> float:
    """Weight of the old teacher after step ``step`` of ``steps``: from ``start`` by a cosine to 1.

    ``1 - (1 - start) (1 + cos(pi step / steps)) / 2``; steps are counted from 0.
    """
    return 1.0 - (1.0 - start) * (1.0 + math.cos(math.pi * min(1.0, step / steps))) / 2.0


def teacher_temperature(step: int, steps: int, start: float, end: float, share: float) -> float:
    """Linear from ``start`` to ``end`` in the first ``share`` of all steps, then ``end``."""
    ramp = share * steps
    return end if step >= ramp else start + (end - start) * step / ramp


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """Move the teacher towards what trains of the student; both have the same form.

    What does not train is equal in both from the start.
    """
    for old, new in zip(teacher.parameters(), student.parameters(), strict=True):
        if new.requires_grad:
            old.lerp_(new, 1.0 - momentum)
