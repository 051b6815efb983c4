"""One pass over rows in falling order of a score, from which every metric of the order is read.

The order is found once for a scored set; a pass holds running sums of B resamples at each distinct
score. The passes of one portion of resamples are shared by all metrics that need them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from roadwork.calibration.base import FloatArray, IntArray
from roadwork.evaluation.resamples import Weights, once, ordered, parts
from roadwork.evaluation.scored import Ranking, ScoredSet, one_vs_rest

__all__ = ["SortedPass", "by_class", "by_confidence", "class_pass", "confidence_pass"]


@dataclass(frozen=True, eq=False)
class SortedPass:
    """Weights at each distinct score, highest first.

    Attributes:
        values: (U,) the scores.
        here: (B, U) weight of the rows with this score.
        hits_here: (B, U) weight of those whose outcome is true.
    """

    values: FloatArray
    here: FloatArray
    hits_here: FloatArray

    @classmethod
    def of(cls, ranking: Ranking, outcomes: FloatArray, weights: Weights) -> SortedPass:
        """The pass for a ranking, outcomes (N,) of 0 and 1 in its order, and weights (B, N)."""
        rows = ordered(weights, ranking.order)
        return cls(ranking.values, ranking.gather(rows), ranking.gather(rows * outcomes))

    @cached_property
    def taken(self) -> FloatArray:
        """Weight of the rows with this score or a higher one, (B, U)."""
        return np.cumsum(self.here, axis=1)

    @cached_property
    def hits(self) -> FloatArray:
        """Weight of those of them whose outcome is true, (B, U)."""
        return np.cumsum(self.hits_here, axis=1)

    @cached_property
    def gaps(self) -> FloatArray:
        """Weighted sum of (score - outcome) over them, (B, U)."""
        gaps = self.here * self.values
        gaps -= self.hits_here
        return np.cumsum(gaps, axis=1, out=gaps)

    def between(self, running: FloatArray, ends: IntArray) -> FloatArray:
        """Sums (B, J) over segments of the scores that end before each of ``ends`` (B, J)."""
        before = np.take_along_axis(running, np.maximum(ends - 1, 0), axis=1)
        return np.diff(np.where(ends > 0, before, 0.0), axis=1, prepend=0.0)


def class_pass(scored: ScoredSet, weights: Weights, k: int) -> SortedPass:
    """The pass over P(y = k), an outcome being true when the class is k."""
    return once(
        weights,
        (scored, k),
        lambda: SortedPass.of(scored.class_rankings[k], scored.class_outcomes[k], weights),
    )


def confidence_pass(scored: ScoredSet, weights: Weights) -> SortedPass:
    """The pass over the confidence, an outcome being true when the prediction is wrong."""
    return once(
        weights,
        (scored, "confidence"),
        lambda: SortedPass.of(scored.confidence_ranking, scored.error_outcomes, weights),
    )


def by_class(
    scored: ScoredSet, weights: Weights, figure: Callable[[SortedPass], FloatArray]
) -> FloatArray:
    """A figure (B,) of the order of P(y = 1), or its mean over classes when K > 2."""
    found = [
        one_vs_rest([figure(class_pass(scored, part, k)) for k in scored.positive_classes])
        for part in parts(weights)
    ]
    return np.concatenate(found)


def by_confidence(
    scored: ScoredSet, weights: Weights, figure: Callable[[SortedPass], FloatArray]
) -> FloatArray:
    """A figure (B,) of the order of the confidence."""
    return np.concatenate([figure(confidence_pass(scored, part)) for part in parts(weights)])
