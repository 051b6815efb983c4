"""Beta calibration (abm): a slope for each side of the probability, and a shift. For two classes.

Kull, Silva Filho, Flach, "Beta calibration: a well-founded and easily implemented improvement on
logistic calibration for binary classifiers", AISTATS 2017.
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

__all__ = ["LARGEST", "BetaCalibration"]

LARGEST = math.exp(4.0)
"""Both slopes stay in [0, 54.6], which is the bound of temperature scaling."""


class BetaCalibration(Calibrator):
    """logit q = a ln p - b ln(1 - p) + c, with p the softmax probability of class 1.

    The identity is (1, 1, 0) and temperature scaling is a = b = 1 / T, c = 0. Neither slope is
    negative, so that the ranking never turns round; ``at_bound`` says that one of them lies on a
    bound of [0, 54.6].
    """

    method: Literal["beta"] = "beta"
    convention: Literal["logit q = a ln p - b ln(1 - p) + c, p = sigmoid(z_1 - z_0)"] = (
        "logit q = a ln p - b ln(1 - p) + c, p = sigmoid(z_1 - z_0)"
    )
    a: float = Field(ge=0.0)
    b: float = Field(ge=0.0)
    c: float
    at_bound: bool

    @classmethod
    def fit(cls, logits: ArrayLike, labels: ArrayLike, groups: ArrayLike | None = None) -> Self:
        """Maximum likelihood: a logistic regression on ln p and -ln(1 - p), slopes in their box.

        Args:
            logits: (N, 2) finite scores, of the same kind as those served.
            labels: (N,), both 0 and 1.
            groups: not used: nothing is chosen.

        Raises:
            ConfigError: other than two classes.
            DataError: the arrays break the contract, or all labels are of one class.
            TrainingError: the optimiser did not converge.
        """
        odds = margin(logits, "beta")
        classes = check_labels(labels, len(odds), 2)
        require_classes(classes, "beta calibration")
        a, b, c = fit_logistic(
            np.stack([*_sides(odds), np.ones(len(odds))], axis=1),
            classes.astype(np.float64),
            np.array([0.0, 0.0, -np.inf]),
            np.array([LARGEST, LARGEST, np.inf]),
            "beta calibration",
        ).tolist()
        inside = min(a, b) > 0.0 and max(a, b) < LARGEST
        return cls(a=a, b=b, c=c, at_bound=not inside)

    def calibrated(self, logits: ArrayLike) -> FloatArray:
        """Logits (N, 2) with the fitted log odds."""
        positive, negative = _sides(margin(logits, "beta"))
        return from_margin(self.a * positive + self.b * negative + self.c)


def _sides(odds: FloatArray) -> tuple[FloatArray, FloatArray]:
    """ln p and -ln(1 - p) of log odds, without passing through p, which rounds to 0 and 1."""
    return -np.logaddexp(0.0, -odds), np.logaddexp(0.0, odds)
