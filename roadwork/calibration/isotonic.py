"""Isotonic calibration: the rising step function of best fit, interpolated between its steps.

Zadrozny, Elkan, "Transforming Classifier Scores into Accurate Multiclass Probability Estimates",
KDD 2002; fitted by pooling adjacent violators. With K > 2 classes, each class has a map of its own
against the rest, and the K answers are divided by their sum, as there.

It needs many rows (about a thousand), makes ties of scores that differed, and can only be judged on
other rows: on its own it is optimistic.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field, Strict, model_validator

from roadwork.calibration.base import (
    Calibrator,
    FloatArray,
    check_labels,
    check_matrix,
    class_log_odds,
    require_classes,
)
from roadwork.calibration.one_vs_rest import joint_logits, mapped_classes

__all__ = ["IsotonicCalibration"]

Row = Annotated[tuple[float, ...], Strict(False)]
Rows = Annotated[tuple[Row, ...], Strict(False)]


class IsotonicCalibration(Calibrator):
    """P is interpolated in the log odds between ``knots``, and constant beyond the outermost.

    Attributes:
        knots: rising log odds of each mapped class: class 1 alone when K is 2.
        values: the probability at each knot, not falling, in [1/(n + 2), 1 - 1/(n + 2)]: a step of
            positives alone would otherwise promise certainty and cost an infinite log-likelihood.
        n: rows that it was fitted on.
        at_bound: some value was put on a bound of that interval.
    """

    method: Literal["isotonic"] = "isotonic"
    convention: Literal["P(class) at its log odds against the rest, linear between knots"] = (
        "P(class) at its log odds against the rest, linear between knots"
    )
    classes: int = Field(ge=2)
    knots: Rows
    values: Rows
    n: int = Field(ge=2)
    at_bound: bool

    @model_validator(mode="after")
    def _maps_are_whole(self) -> Self:
        if not len(self.knots) == len(self.values) == mapped_classes(self.classes):
            raise ValueError("one map for two classes, or one per class, is needed")
        for knots, values in zip(self.knots, self.values, strict=True):
            if not knots or len(knots) != len(values):
                raise ValueError("every map needs as many values as knots, and one at least")
            if (np.diff(knots) <= 0.0).any() or (np.diff(values) < 0.0).any():
                raise ValueError("knots must rise and values must not fall")
            if not 0.0 < values[0] <= values[-1] < 1.0:
                raise ValueError("values must lie strictly between 0 and 1")
        return self

    @classmethod
    def fit(cls, logits: ArrayLike, labels: ArrayLike, groups: ArrayLike | None = None) -> Self:
        """Pool adjacent violators over the distinct log odds.

        Args:
            logits: (N, K) finite scores, of the same kind as those served.
            labels: (N,) classes, at least two different ones.
            groups: not used: nothing is chosen.

        Raises:
            DataError: the arrays break the contract, or all labels are of one class.
        """
        scores = check_matrix(logits, "logits")
        truth = check_labels(labels, *scores.shape)
        require_classes(truth, "isotonic map")
        odds = class_log_odds(scores)
        classes = scores.shape[1]
        own = [1] if classes == 2 else list(range(classes))
        floor = 1.0 / (len(truth) + 2.0)
        knots, values, clipped = [], [], False
        for column, k in zip(odds.T, own, strict=True):
            places, heights = _pool(column, truth == k)
            bounded = np.clip(heights, floor, 1.0 - floor)
            clipped |= bool((bounded != heights).any())
            knots.append(tuple(places.tolist()))
            values.append(tuple(bounded.tolist()))
        return cls(
            classes=classes,
            knots=tuple(knots),
            values=tuple(values),
            n=len(truth),
            at_bound=clipped,
        )

    def calibrated(self, logits: ArrayLike) -> FloatArray:
        """Logarithms of the mapped probabilities, (N, K); their softmax divides by their sum.

        Raises:
            DataError: the logits break the contract or have another number of classes.
        """
        odds = class_log_odds(check_matrix(logits, "logits"))
        return joint_logits(odds, self.classes, self._map)

    def _map(self, column: int, odds: FloatArray) -> FloatArray:
        return np.interp(odds, self.knots[column], self.values[column])


def _pool(odds: FloatArray, outcomes: np.ndarray) -> tuple[FloatArray, FloatArray]:
    """Both ends of every step of the isotonic fit: places and heights."""
    from scipy.optimize import isotonic_regression

    places, member, counts = np.unique(odds, return_inverse=True, return_counts=True)
    means = np.bincount(member.reshape(-1), weights=outcomes) / counts
    fitted = isotonic_regression(means, weights=counts)
    heights = np.asarray(fitted.x, dtype=np.float64)
    starts = np.asarray(fitted.blocks[:-1])
    ends = np.asarray(fitted.blocks[1:]) - 1
    kept = np.unique(np.concatenate([starts, ends]))
    return places[kept], heights[kept]
