"""Empirical risk: the plain mean over the rows of a batch."""

from __future__ import annotations

from torch import Tensor

from roadwork.training.objectives.base import Objective, ObjectiveContext, Step

__all__ = ["EmpiricalRisk"]


class EmpiricalRisk(Objective):
    """Every drawn row counts alike."""

    def __init__(self, context: ObjectiveContext) -> None:
        """It has nothing to learn, and needs nothing of the context."""
        super().__init__()

    def forward(self, step: Step) -> Tensor:
        """Mean of the rows' losses."""
        return step.losses.mean()
