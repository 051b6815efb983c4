"""Metrics of prediction sets: coverage, size, and risk under the defer rule.

The defer rule is that of service (:mod:`roadwork.deferral`): a row is answered when its set holds
the predicted label alone. Every metric takes a scored set and row weights (B, N) and gives (B,),
NaN where undefined.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from roadwork.calibration.base import FloatArray
from roadwork.errors import DataError
from roadwork.evaluation.resamples import Weights
from roadwork.evaluation.scored import ScoredSet, ratio

__all__ = [
    "answered_share",
    "class_coverage_of",
    "coverage",
    "covered",
    "empty_share",
    "full_share",
    "lowest_class_coverage",
    "mean_set_size",
    "selective_risk",
    "singleton_share",
    "size_stratified_coverage",
]


def covered(scored: ScoredSet) -> NDArray[np.bool_]:
    """Whether the set of each row holds its true label, (N,)."""
    return _sets(scored)[np.arange(scored.n), scored.labels]


def coverage(scored: ScoredSet, weights: Weights) -> FloatArray:
    """Share of rows whose set holds the true label."""
    return _share(covered(scored), weights)


def class_coverage_of(k: int) -> Callable[[ScoredSet, Weights], FloatArray]:
    """The metric that is the coverage among rows of class ``k``; undefined without such rows."""

    def class_coverage(scored: ScoredSet, weights: Weights) -> FloatArray:
        return _share(covered(scored), weights * (scored.labels == k))

    return class_coverage


def lowest_class_coverage(scored: ScoredSet, weights: Weights) -> FloatArray:
    """Coverage of the class that is covered least; undefined when a class is absent."""
    values = [class_coverage_of(k)(scored, weights) for k in range(scored.n_classes)]
    return np.min(np.stack(values), axis=0)


def size_stratified_coverage(scored: ScoredSet, weights: Weights) -> FloatArray:
    """Least coverage among the sizes of sets that occur, from one label on.

    Angelopoulos, Bates, Malik, Jordan, arXiv 2009.14193, judge a method by it: sets that promise
    0.9 overall should not keep it through their large ones alone. Empty sets never cover and are
    counted by ``empty_share``; undefined when all sets are empty.
    """
    sizes, hits = _sets(scored).sum(axis=1), covered(scored)
    found = np.stack(
        [_share(hits, weights * (sizes == size)) for size in range(1, scored.n_classes + 1)]
    )
    least = np.where(np.isnan(found), np.inf, found).min(axis=0)
    return np.where(np.isinf(least), np.nan, least)


def mean_set_size(scored: ScoredSet, weights: Weights) -> FloatArray:
    """Mean number of labels in a set."""
    return _share(_sets(scored).sum(axis=1), weights)


def empty_share(scored: ScoredSet, weights: Weights) -> FloatArray:
    """Share of empty sets."""
    return _share(_sets(scored).sum(axis=1) == 0, weights)


def singleton_share(scored: ScoredSet, weights: Weights) -> FloatArray:
    """Share of sets of one label, whether or not it is the predicted one."""
    return _share(_sets(scored).sum(axis=1) == 1, weights)


def answered_share(scored: ScoredSet, weights: Weights) -> FloatArray:
    """Share of rows that the defer rule answers: its coverage, in the selective sense."""
    return _share(scored.answered, weights)


def full_share(scored: ScoredSet, weights: Weights) -> FloatArray:
    """Share of sets that hold every label."""
    return _share(_sets(scored).sum(axis=1) == scored.n_classes, weights)


def selective_risk(scored: ScoredSet, weights: Weights) -> FloatArray:
    """Error rate among the rows that the defer rule answers; undefined when it answers none."""
    return _share(~scored.correct, weights * scored.answered)


def _sets(scored: ScoredSet) -> NDArray[np.bool_]:
    if scored.sets is None:
        raise DataError("this metric needs prediction sets; pass sets=... to the ScoredSet.")
    return scored.sets


def _share(values: np.ndarray, weights: Weights) -> FloatArray:
    return ratio(weights @ values.astype(np.float64), weights.sum(axis=1))
