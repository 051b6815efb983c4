"""Histogram binning: one probability for each of a few bins with about equally many rows.

Zadrozny, Elkan, "Obtaining calibrated probability estimates from decision trees and naive Bayesian
classifiers", ICML 2001. With K > 2 classes, one against the rest, divided by the sum.
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

__all__ = ["BINS", "LEAST_ROWS", "HistogramBinning"]

BINS = 15
LEAST_ROWS = 20
"""There are fewer bins where a bin would have fewer rows than this."""

Row = Annotated[tuple[float, ...], Strict(False)]
Rows = Annotated[tuple[Row, ...], Strict(False)]


class HistogramBinning(Calibrator):
    """P is constant between ``edges`` and jumps at them; it need not rise.

    Attributes:
        edges: rising log odds between the bins of each mapped class (class 1 alone when K is 2);
            an odds equal to an edge belongs to the bin above.
        values: (positives + 1) / (rows + 2) of each bin, Laplace's rule, never 0 or 1.
    """

    method: Literal["histogram"] = "histogram"
    convention: Literal["P(class) of the bin that its log odds against the rest fall into"] = (
        "P(class) of the bin that its log odds against the rest fall into"
    )
    classes: int = Field(ge=2)
    edges: Rows
    values: Rows

    @model_validator(mode="after")
    def _maps_are_whole(self) -> Self:
        if not len(self.edges) == len(self.values) == mapped_classes(self.classes):
            raise ValueError("one map for two classes, or one per class, is needed")
        for edges, values in zip(self.edges, self.values, strict=True):
            if len(values) != len(edges) + 1 or (np.diff(edges) <= 0.0).any():
                raise ValueError("every map needs rising edges and one value more than edges")
            if not 0.0 < min(values) <= max(values) < 1.0:
                raise ValueError("values must lie strictly between 0 and 1")
        return self

    @classmethod
    def fit(cls, logits: ArrayLike, labels: ArrayLike, groups: ArrayLike | None = None) -> Self:
        """Count positives in up to 15 bins of about equally many rows; equal odds stay together.

        Args:
            logits: (N, K) finite scores, of the same kind as those served.
            labels: (N,) classes, at least two different ones.
            groups: not used: nothing is chosen.

        Raises:
            DataError: the arrays break the contract, or all labels are of one class.
        """
        scores = check_matrix(logits, "logits")
        truth = check_labels(labels, *scores.shape)
        require_classes(truth, "histogram")
        classes = scores.shape[1]
        own = [1] if classes == 2 else list(range(classes))
        edges, values = [], []
        for odds, k in zip(class_log_odds(scores).T, own, strict=True):
            between = _edges(odds, max(1, min(BINS, len(odds) // LEAST_ROWS)))
            member = np.searchsorted(between, odds, side="right")
            rows = np.bincount(member, minlength=len(between) + 1)
            hits = np.bincount(member, weights=truth == k, minlength=len(between) + 1)
            edges.append(tuple(between.tolist()))
            values.append(tuple(((hits + 1.0) / (rows + 2.0)).tolist()))
        return cls(classes=classes, edges=tuple(edges), values=tuple(values))

    def calibrated(self, logits: ArrayLike) -> FloatArray:
        """Logarithms of the mapped probabilities, (N, K); their softmax divides by their sum.

        Raises:
            DataError: the logits break the contract or have another number of classes.
        """
        odds = class_log_odds(check_matrix(logits, "logits"))
        return joint_logits(odds, self.classes, self._map)

    def _map(self, column: int, odds: FloatArray) -> FloatArray:
        member = np.searchsorted(self.edges[column], odds, side="right")
        return np.asarray(self.values[column])[member]


def _edges(odds: FloatArray, bins: int) -> FloatArray:
    """Edges that part rising odds into equal numbers of rows, as far as ties allow."""
    rising = np.sort(odds)
    cuts = np.arange(1, bins) * len(rising) // bins
    edges = rising[cuts]
    # An edge at the least odds would leave nothing below it.
    return np.unique(edges[edges > rising[0]])
