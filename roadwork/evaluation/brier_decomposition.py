"""Murphy's decomposition of the Brier score over 15 bins of equal width. For two classes.

Murphy, "A New Vector Partition of the Probability Score", J. Applied Meteorology 12, 1973:
Brier = reliability - resolution + uncertainty, exactly if all probabilities of a bin are equal.
They are not, so a fourth part, the spread within bins, makes the sum exact (Stephenson, Coelho,
Jolliffe, "Two extra components in the Brier score decomposition", Weather and Forecasting 23, 2008:
the variance of the scores within bins less twice their covariance with the outcomes).

Every part takes a scored set and row weights (B, N) and returns (B,), NaN unless K is 2.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from roadwork.calibration.base import FloatArray
from roadwork.evaluation.calibration_error import brier, class_bins
from roadwork.evaluation.resamples import Weights
from roadwork.evaluation.scored import ScoredSet, ratio

__all__ = ["reliability", "resolution", "uncertainty", "within_bins"]


class _Parts(NamedTuple):
    reliability: FloatArray
    resolution: FloatArray
    uncertainty: FloatArray


def reliability(scored: ScoredSet, weights: Weights) -> FloatArray:
    """Mean squared gap between a bin's mean score and its share of positives; 0 is best."""
    return _parts(scored, weights).reliability


def resolution(scored: ScoredSet, weights: Weights) -> FloatArray:
    """Mean squared gap between a bin's share of positives and that of all; more is better."""
    return _parts(scored, weights).resolution


def uncertainty(scored: ScoredSet, weights: Weights) -> FloatArray:
    """Variance of the outcome, y (1 - y): the score of always saying the share of positives."""
    return _parts(scored, weights).uncertainty


def within_bins(scored: ScoredSet, weights: Weights) -> FloatArray:
    """What the Brier score has beyond the three other parts, because scores of a bin differ."""
    found = _parts(scored, weights)
    known = found.reliability - found.resolution + found.uncertainty
    return brier(scored, weights) - known


def _parts(scored: ScoredSet, weights: Weights) -> _Parts:
    if scored.n_classes != 2:
        missing = np.full(len(weights), np.nan)
        return _Parts(missing, missing, missing)
    counts, scores, hits = class_bins(scored, weights, 1)
    total = counts.sum(axis=1)
    rate = ratio(hits.sum(axis=1), total)
    filled = np.where(counts > 0, counts, 1.0)
    spread = np.where(counts > 0, counts * (hits / filled - rate[:, None]) ** 2, 0.0)
    return _Parts(
        ratio(((scores - hits) ** 2 / filled).sum(axis=1), total),
        ratio(spread.sum(axis=1), total),
        rate * (1.0 - rate),
    )
