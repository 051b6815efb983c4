"""The teacher of self-distillation: a moving average of the student that grows slower.

The schedule is DINO's (Caron et al., 2104.14294, section 3.1).
"""

from __future__ import annotations

import math

import torch
from torch import nn

__all__ = ["TEACHER_TEMPERATURE", "follow", "teacher_momentum"]

TEACHER_TEMPERATURE = 0.04
"""Divides the teacher's scores: what DINO, DINOv2 and DINOv3 begin with, kept to the end.

They go on to 0.07. Near uniform targets a student that has learned all there is gives scores of
``rho T_s / T_t`` times the teacher's size, where ``rho`` is how well one crop's scores tell another
crop's, ``T_s`` is 0.1 and ``T_t`` is this. Below 1 targets fade to uniform from pass to pass; 0.04
asks for ``rho > 0.4``, 0.07 for ``rho > 0.7``, which few runs of hundreds of steps come to.
"""


def teacher_momentum(step: int, steps: int, start: float) -> float:
    """Weight of the old teacher after step ``step`` of ``steps``: from ``start`` by a cosine to 1.

    ``1 - (1 - start) (1 + cos(pi step / steps)) / 2``; steps are counted from 0.
    """
    return 1.0 - (1.0 - start) * (1.0 + math.cos(math.pi * min(1.0, step / steps))) / 2.0


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """Move the teacher towards what trains of the student; both have the same form.

    What does not train is equal in both from the start.
    """
    for old, new in zip(teacher.parameters(), student.parameters(), strict=True):
        if new.requires_grad:
            old.lerp_(new, 1.0 - momentum)
