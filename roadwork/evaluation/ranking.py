"""Metrics of the ranking: AUROC, average precision, recall at a precision, AUROC within groups.

Every metric takes a scored set and row weights (B, N) and returns (B,), NaN where undefined. With
K > 2 classes each is the mean over classes, one against the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from roadwork.calibration.base import FloatArray, IntArray
from roadwork.errors import DataError
from roadwork.evaluation.resamples import Weights, columns
from roadwork.evaluation.scored import Ranking, ScoredSet, one_vs_rest, ratio
from roadwork.evaluation.sorted_pass import SortedPass, by_class

__all__ = [
    "WithinGroupAuroc",
    "auroc",
    "average_precision",
    "largest_recall",
    "recall_at",
    "within_group",
    "within_group_auroc",
]


# Quotients of sums may differ from a bound in the last digit alone.
_SLACK = 1e-12


@dataclass(frozen=True)
class WithinGroupAuroc:
    """AUROC over the pairs of one group each; ``value`` is None without any such pair."""

    value: float | None
    n_pairs: int
    n_groups: int


def auroc(scored: ScoredSet, weights: Weights) -> FloatArray:
    """Chance that a positive scores above a negative, ties counting one half."""
    return by_class(scored, weights, _auroc)


def average_precision(scored: ScoredSet, weights: Weights) -> FloatArray:
    """Area under the precision-recall curve as a step sum over distinct thresholds."""
    return by_class(scored, weights, _average_precision)


def recall_at(precision: float) -> Callable[[ScoredSet, Weights], FloatArray]:
    """The metric that is the largest recall over thresholds whose precision is at least so high.

    Thresholds are the distinct scores. 0 where no threshold is precise enough, NaN without
    positives.
    """

    def recall_at_precision(scored: ScoredSet, weights: Weights) -> FloatArray:
        return by_class(scored, weights, lambda found: largest_recall(found, precision))

    return recall_at_precision


def largest_recall(found: SortedPass, precision: float) -> FloatArray:
    """Largest recall (B,) at which the precision is at least so high; 0 where it never is."""
    enough = found.hits >= precision * (1.0 - _SLACK) * found.taken
    # Hits never fall along the scores, so that the last place which is precise enough has most.
    last = enough.shape[1] - 1 - np.argmax(enough[:, ::-1], axis=1)
    rows = np.arange(len(enough))
    best = np.where(enough[rows, last], found.hits[rows, last], 0.0)
    return ratio(best, found.hits[:, -1])


def within_group(scored: ScoredSet, weights: Weights) -> FloatArray:
    """Share of rightly ordered (positive, negative) pairs among the pairs of one group each.

    Unlike AUROC it cannot be raised by recognising the group (camera, city, drive). The weights
    must be constant within each group, as those of a group bootstrap are: a group drawn twice
    brings its pairs twice.
    """
    first = np.unique(scored.group_codes, return_index=True)[1]
    draws = columns(weights, first)
    values: list[FloatArray] = []
    for k in scored.positive_classes:
        wins, pairs = scored.once(("pairs", k), lambda k=k: _pairs_of(scored, k))
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


def _auroc(found: SortedPass) -> FloatArray:
    # The sum over scores of (negatives here) * (positives above + half of those here), multiplied
    # out so that nothing of the size of the pass is written; for whole weights it is exact.
    here, hits_here, hits = found.here, found.hits_here, found.hits
    wins = (
        _inner(here, hits)
        - _inner(hits_here, hits)
        - (_inner(here, hits_here) - _inner(hits_here, hits_here)) / 2
    )
    positives = hits[:, -1]
    return ratio(wins, positives * (found.taken[:, -1] - positives))


def _average_precision(found: SortedPass) -> FloatArray:
    # Where nothing is taken yet the numerator is 0 as well; 1 keeps the quotient at 0.
    precision = found.hits / np.where(found.taken > 0, found.taken, 1.0)
    return ratio(_inner(found.hits_here, precision), found.hits[:, -1])


def _inner(first: FloatArray, second: FloatArray) -> FloatArray:
    """Products of the rows of two (B, U), (B,)."""
    return np.einsum("bu,bu->b", first, second)


def _pairs_of(scored: ScoredSet, k: int) -> tuple[FloatArray, FloatArray]:
    return _pairs(scored.probabilities[:, k], scored.labels == k, scored.group_codes)


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
