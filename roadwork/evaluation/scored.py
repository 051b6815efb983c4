"""A scored set: the arrays that every metric reads, checked once, and what they share, cached.

Metrics are functions of a ``ScoredSet`` and of row weights (B, N); they return B values. One row
of ones gives the metric itself; B rows of bootstrap counts give B resampled metrics in one go.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roadwork.calibration.base import (
    FloatArray,
    IntArray,
    check_labels,
    check_matrix,
    check_probabilities,
    log_softmax,
    softmax,
)
from roadwork.deferral import answered
from roadwork.errors import DataError

__all__ = ["Ranking", "ScoredSet", "one_vs_rest", "ratio"]

_LOGIT_TOLERANCE = 1e-4

Made = TypeVar("Made")


@dataclass(frozen=True)
class Ranking:
    """Rows in falling order of a score, and where each group of equal scores starts."""

    order: IntArray
    starts: IntArray
    values: FloatArray

    @classmethod
    def of(cls, scores: FloatArray) -> Ranking:
        """Rank ``scores`` (N,): ``order`` is (N,), ``starts`` and ``values`` are (U,)."""
        order = np.argsort(-scores, kind="stable")
        falling = scores[order]
        starts = np.flatnonzero(np.r_[True, falling[1:] != falling[:-1]])
        return cls(order=order, starts=starts, values=falling[starts])

    def tally(self, weights: FloatArray) -> FloatArray:
        """Sum weights (B, N) within each group of equal scores, (B, U), highest score first."""
        return self.gather(weights[:, self.order])

    def gather(self, ordered: FloatArray) -> FloatArray:
        """Sum numbers (B, N) that are in this order already, as :meth:`tally` does."""
        if len(self.starts) == len(self.order):
            return ordered
        return np.add.reduceat(ordered, self.starts, axis=1)


@dataclass(frozen=True, eq=False)
class ScoredSet:
    """Probabilities and labels of one data set, with optional extras.

    Attributes:
        probabilities: (N, K) float64; class 1 is the positive one when K is 2.
        labels: (N,) true classes.
        sets: (N, K) booleans, the prediction sets, for the metrics of coverage and deferral.
        groups: (N,) group (drive) of every row, for resampling and for within-group AUROC.
        logits: (N, K), whose softmax are the probabilities, for an unclipped likelihood.

    Raises:
        DataError: arrays that are empty, not finite, no distribution, or of different lengths.
    """

    probabilities: FloatArray
    labels: IntArray
    sets: NDArray[np.bool_] | None = None
    groups: NDArray[np.generic] | None = None
    logits: FloatArray | None = None

    def __post_init__(self) -> None:
        """Check and convert the arrays."""
        table = check_probabilities(self.probabilities)
        object.__setattr__(self, "probabilities", table)
        object.__setattr__(self, "labels", check_labels(self.labels, *table.shape))
        if self.sets is not None:
            sets = np.asarray(self.sets)
            if sets.shape != table.shape or sets.dtype != np.bool_:
                raise DataError(
                    f"sets must be booleans of shape {table.shape}, but are {sets.dtype} of shape "
                    f"{sets.shape}; pass the result of predict_set."
                )
            object.__setattr__(self, "sets", sets)
        if self.groups is not None:
            groups = np.asarray(self.groups)
            if groups.shape != (len(table),):
                raise DataError(f"groups must have shape ({len(table)},), not {groups.shape}.")
            object.__setattr__(self, "groups", groups)
        if self.logits is not None:
            logits = check_matrix(self.logits, "logits")
            if logits.shape != table.shape or not np.allclose(
                softmax(logits), table, rtol=0.0, atol=_LOGIT_TOLERANCE
            ):
                raise DataError(
                    "the softmax of the logits is not the probabilities; pass calibrated logits "
                    "(divided by the temperature) or leave them out."
                )
            object.__setattr__(self, "logits", logits)

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.labels)

    @property
    def n_classes(self) -> int:
        """Number of classes, K."""
        return self.probabilities.shape[1]

    @cached_property
    def predicted(self) -> IntArray:
        """Most probable class, (N,); a tie goes to the lowest index, so p = 0.5 is class 0."""
        return self.probabilities.argmax(axis=1)

    @cached_property
    def correct(self) -> NDArray[np.bool_]:
        """Whether the most probable class is the true one, (N,)."""
        return self.predicted == self.labels

    @cached_property
    def answered(self) -> NDArray[np.bool_]:
        """Whether the defer rule answers each row, (N,): its set holds the prediction alone.

        Raises:
            DataError: there are no prediction sets.
        """
        if self.sets is None:
            raise DataError("the defer rule needs prediction sets; pass sets=... to the ScoredSet.")
        return answered(self.sets, self.predicted)

    @cached_property
    def confidence(self) -> FloatArray:
        """Highest probability of each row, (N,)."""
        return self.probabilities.max(axis=1)

    @cached_property
    def confidence_ranking(self) -> Ranking:
        """Rows by falling confidence, shared by every risk-coverage metric."""
        return Ranking.of(self.confidence)

    @cached_property
    def positive_classes(self) -> tuple[int, ...]:
        """Classes that one-versus-rest metrics average over: only class 1 when K is 2."""
        return (1,) if self.n_classes == 2 else tuple(range(self.n_classes))

    @cached_property
    def class_rankings(self) -> dict[int, Ranking]:
        """Rows by falling probability of each positive class."""
        return {k: Ranking.of(self.probabilities[:, k]) for k in self.positive_classes}

    @cached_property
    def class_outcomes(self) -> dict[int, FloatArray]:
        """1 where the class is k and 0 elsewhere, in the order of k's ranking, (N,) each."""
        return {
            k: (self.labels[ranking.order] == k).astype(np.float64)
            for k, ranking in self.class_rankings.items()
        }

    @cached_property
    def error_outcomes(self) -> FloatArray:
        """1 where the prediction is wrong and 0 elsewhere, by falling confidence, (N,)."""
        return (~self.correct[self.confidence_ranking.order]).astype(np.float64)

    @cached_property
    def confusion_index(self) -> IntArray:
        """Number K * (true class) + (predicted class) of the cell of each row, (N,)."""
        return self.labels * self.n_classes + self.predicted

    @cached_property
    def confusion_cells(self) -> FloatArray:
        """Indicator (N, K * K) of the cell (true class, predicted class) of each row."""
        return np.eye(self.n_classes**2)[self.confusion_index]

    @cached_property
    def log_likelihood(self) -> FloatArray:
        """Logarithm of the true class's probability, (N,); -inf where that is 0, if no logits."""
        rows = np.arange(self.n)
        if self.logits is not None:
            return log_softmax(self.logits)[rows, self.labels]
        with np.errstate(divide="ignore"):
            return np.log(self.probabilities[rows, self.labels])

    @cached_property
    def group_codes(self) -> IntArray:
        """Number 0..G-1 of each row's group, (N,); without groups every row is its own."""
        if self.groups is None:
            return np.arange(self.n)
        return np.unique(self.groups, return_inverse=True)[1].reshape(-1)

    @cached_property
    def n_groups(self) -> int:
        """Number of groups, G."""
        return int(self.group_codes.max()) + 1

    def once(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """What ``make`` gives, made at the first call with this key and kept with the set."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    @cached_property
    def _made(self) -> dict[Hashable, Any]:
        return {}

    def take(self, rows: ArrayLike | Sequence[int]) -> ScoredSet:
        """The set of the given rows: indices, with repetition if wanted, or a boolean mask."""
        index = np.asarray(rows)
        return ScoredSet(
            probabilities=self.probabilities[index],
            labels=self.labels[index],
            sets=None if self.sets is None else self.sets[index],
            groups=None if self.groups is None else self.groups[index],
            logits=None if self.logits is None else self.logits[index],
        )


def ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """Elementwise quotient, NaN where the denominator is 0."""
    top, bottom = np.broadcast_arrays(numerator, denominator)
    return np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom != 0)


def one_vs_rest(values: Sequence[FloatArray]) -> FloatArray:
    """Mean over classes of values (B,): NaN as soon as one class is undefined."""
    return np.mean(np.stack(values), axis=0)
