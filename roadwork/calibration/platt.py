"""Platt scaling: a slope and an intercept on the log odds of class 1. For two classes.

Platt, "Probabilistic Outputs for Support Vector Machines and Comparisons to Regularized Likelihood
Methods", Advances in Large Margin Classifiers, 1999.
"""

from __future__ import annotations

import math
from typing import Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field

from roadwork.calibration.base import (
    Calibrator,
    FloatArray,
    check_labels,
    from_margin,
    margin,
    require_classes,
)
from roadwork.calibration.newton import fit_logistic

__all__ = ["LARGEST_SLOPE", "PlattScaling"]

LARGEST_SLOPE = math.exp(4.0)
"""Slopes stay in [0, 54.6], which is the bound of temperature scaling."""


class PlattScaling(Calibrator):
    """P(y = 1) is sigmoid(slope * (z_1 - z_0) + intercept).

    Temperature scaling is the case of intercept 0 and slope 1 / T. The slope is not negative, so
    that the ranking never turns round; ``at_bound`` says that it lies on a bound of [0, 54.6].
    """

    method: Literal["platt"] = "platt"
    convention: Literal["sigmoid(slope * (z_1 - z_0) + intercept)"] = (
        "sigmoid(slope * (z_1 - z_0) + intercept)"
    )
    slope: float = Field(ge=0.0)
    intercept: float
    at_bound: bool

    @classmethod
    def fit(cls, logits: ArrayLike, labels: ArrayLike, groups: ArrayLike | None = None) -> Self:
        """Least cross-entropy against Platt's targets.

        Positives count as (n_1 + 1) / (n_1 + 2) and negatives as 1 / (n_0 + 2), with n_1 and n_0
        their numbers: Platt's guard against sure answers from few rows.

        Args:
            logits: (N, 2) finite scores, of the same kind as those served.
            labels: (N,), both 0 and 1.
            groups: not used: nothing is chosen.

        Raises:
            ConfigError: other than two classes.
            DataError: the arrays break the contract, or all labels are of one class.
            TrainingError: the optimiser did not converge.
        """
        odds = margin(logits, "Platt")
        classes = check_labels(labels, len(odds), 2)
        require_classes(classes, "Platt scaling")
        positives = int(classes.sum())
        high = (positives + 1.0) / (positives + 2.0)
        low = 1.0 / (len(classes) - positives + 2.0)
        slope, intercept = fit_logistic(
            np.stack([odds, np.ones(len(odds))], axis=1),
            np.where(classes == 1, high, low),
            np.array([0.0, -np.inf]),
            np.array([LARGEST_SLOPE, np.inf]),
            "Platt scaling",
        ).tolist()
        return cls(slope=slope, intercept=intercept, at_bound=not 0.0 < slope < LARGEST_SLOPE)

    def calibrated(self, logits: ArrayLike) -> FloatArray:
        """Logits (N, 2) with the fitted log odds."""
        return from_margin(self.slope * margin(logits, "Platt") + self.intercept)
