"""Metrics of the ranking: AUROC, average precision, and AUROC within groups.

Every metric takes a scored set and row weights (B, N) and returns (B,), NaN where undefined. With
K > 2 classes each is the mean over classes, one against the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from roadwork.calibration.base import FloatArray, IntArray
from roadwork.errors import DataError
from roadwork.evaluation.scored import Ranking, ScoredSet, one_vs_rest, ratio

__all__ = [
    "WithinGroupAuroc",
    "auroc",
    "average_precision",
    "within_group",
    "within_group_auroc",
]


@dataclass(frozen=True)
class WithinGroupAuroc:
    """AUROC over the pairs of one group each; ``value`` is None without any such pair."""

    value: float | None
    n_pairs: int
    n_groups: int


def auroc(scored: ScoredSet, weights: FloatArray) -> FloatArray:
    """Chance that a positive scores above a negative, ties counting one half."""
    return one_vs_rest([_auroc(scored, weights, k) for k in scored.positive_classes])


def average_precision(scored: ScoredSet, weights: FloatArray) -> FloatArray:
    """Area under the precision-recall curve as a step sum over distinct thresholds."""
    return one_vs_rest([_average_precision(scored, weights, k) for k in scored.positive_classes])


def within_group(scored: ScoredSet, weights: FloatArray) -> FloatArray:
    """Share of rightly ordered (positive, negative) pairs among the pairs of one group each.

    Unlike AUROC it cannot be raised by recognising the group (camera, city, drive). The weights
    must be constant within each group, as those of a group bootstrap are: a group drawn twice
    brings its pairs twice.
    """
    first = np.unique(scored.group_codes, return_index=True)[1]
    draws = weights[:, first]
    values: list[FloatArray] = []
    for k in scored.positive_classes:
        wins, pairs = _pairs(scored.probabilities[:, k], scored.labels == k, scored.group_codes)
        values.append(ratio(draws @ wins, draws @ pairs))
    return one_vs_rest(values)


def within_group_auroc(scores: ArrayLike, labels: ArrayLike, groups: ArrayLike) -> WithinGroupAuroc:
    """AUROC over pairs of a positive and a negative of the same group, pooled over groups.

    Args:
        scores: (N,) finite scores, higher for the positive class.
        labels: (N,) zeros and ones.
        groups: (N,) group of every row.

    Returns:
        The value, the number of pairs, and the number of groups that have pairs.

    Raises:
        DataError: arrays of different lengths, scores that are not finite, labels not 0 or 1.
    """
    values = np.asarray(scores, dtype=np.float64)
    truth, names = np.asarray(labels), np.asarray(groups)
    if values.ndim != 1 or truth.shape != values.shape or names.shape != values.shape:
        raise DataError(
            f"scores, labels and groups must be of one length, but have shapes {values.shape}, "
            f"{truth.shape} and {names.shape}."
        )
    if not np.isfinite(values).all() or not np.isin(truth, (0, 1)).all():
        raise DataError("within-group AUROC needs finite scores and labels that are 0 or 1.")
    if len(values) == 0:
        return WithinGroupAuroc(value=None, n_pairs=0, n_groups=0)
    codes = np.unique(names, return_inverse=True)[1].reshape(-1)
    wins, pairs = _pairs(values, truth == 1, codes)
    n_pairs = int(pairs.sum())
    return WithinGroupAuroc(
        value=float(wins.sum() / n_pairs) if n_pairs else None,
        n_pairs=n_pairs,
        n_groups=int((pairs > 0).sum()),
    )


def _auroc(scored: ScoredSet, weights: FloatArray, k: int) -> FloatArray:
    ranking = scored.class_rankings[k]
    positive = ranking.tally(weights * (scored.labels == k))
    negative = ranking.tally(weights * (scored.labels != k))
    n_negative = negative.sum(axis=1)
    below = n_negative[:, None] - np.cumsum(negative, axis=1) + negative / 2
    return ratio((positive * below).sum(axis=1), positive.sum(axis=1) * n_negative)


def _average_precision(scored: ScoredSet, weights: FloatArray, k: int) -> FloatArray:
    ranking = scored.class_rankings[k]
    positive = ranking.tally(weights * (scored.labels == k))
    accepted = np.cumsum(ranking.tally(weights), axis=1)
    # Where nothing is accepted yet the numerator is 0 as well; 1 keeps the quotient at 0.
    precision = np.cumsum(positive, axis=1) / np.where(accepted > 0, accepted, 1.0)
    return ratio((positive * precision).sum(axis=1), positive.sum(axis=1))


def _pairs(
    scores: FloatArray, positive: np.ndarray, codes: IntArray
) -> tuple[FloatArray, FloatArray]:
    """Rightly ordered pairs (ties one half) and all pairs of each group 0..G-1, both (G,)."""
    n_groups = int(codes.max()) + 1
    n_positive = np.bincount(codes, weights=positive, minlength=n_groups).astype(np.float64)
    n_negative = np.bincount(codes, weights=~positive, minlength=n_groups).astype(np.float64)
    # Dense ranks make one sortable key of (group, score); a block is one score in one group.
    levels = np.unique(scores, return_inverse=True)[1].reshape(-1)
    key = codes * (int(levels.max()) + 1) + levels
    rising = Ranking.of(-key.astype(np.float64))
    block_group = codes[rising.order[rising.starts]]
    block_positive = rising.tally(positive[None].astype(np.float64))[0]
    block_negative = rising.tally((~positive)[None].astype(np.float64))[0]
    before_group = np.r_[0.0, np.cumsum(n_negative)[:-1]]
    below = np.cumsum(block_negative) - block_negative / 2 - before_group[block_group]
    wins = np.bincount(block_group, weights=block_positive * below, minlength=n_groups)
    return wins.astype(np.float64), n_positive * n_negative
