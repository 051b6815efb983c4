"""Split conformal sets: one threshold on a nonconformity score, for all classes together.

With LAC's score these are the smallest sets on average (Sadinle, Lei, Wasserman, JASA 2019, arXiv
1609.00451); the other scores are those of :mod:`roadwork.conformal.scores`. Which score is used
changes the sets and not the promise.

Labels that may be wrong: where the given label differs from the true one with probability at most
``label_noise``, whatever the noise looks like, sets that miss the given label with probability
alpha - label_noise miss the true one with probability at most alpha. It costs size and needs no
model of the noise; with a known noise matrix, CRCP (:mod:`roadwork.conformal.crcp`) is sharper.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field, model_validator

from roadwork.calibration.base import FloatArray, check_labels, check_probabilities
from roadwork.conformal.base import (
    BoolArray,
    ConformalPredictor,
    Promise,
    group_caveat,
    image_of,
    percent,
    surely,
    too_few,
)
from roadwork.conformal.groups import Counting, count_groups, counted_rows
from roadwork.conformal.ranks import (
    conformal_rank,
    exact_share,
    order_statistic,
    required_rank,
)
from roadwork.conformal.rows import Rows
from roadwork.conformal.scores import Score, ScoreName
from roadwork.errors import ConfigError

__all__ = ["SplitConformal"]


class SplitConformal(ConformalPredictor):
    """Prediction sets {y : score of y <= threshold}.

    Attributes:
        method: name of the score.
        delta: allowed probability that the draw of the points breaks the promise; None: the
            promise is an average over draws.
        label_noise: bound of the share of wrong labels among the points; None: all are right.
        counting: which points count; see :mod:`roadwork.conformal.groups`.
        n: points that count.
        rank: of the threshold among them; None, like the threshold, where they are too few.
    """

    method: ScoreName = "lac"
    threshold: float | None
    n: int = Field(ge=1)
    rank: int | None
    score: Score = Score()
    delta: float | None = Field(default=None, gt=0.0, lt=1.0)
    label_noise: float | None = Field(default=None, gt=0.0, lt=1.0)
    counting: Counting = "images"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.score.name != self.method:
            raise ValueError(f"method {self.method} with the score {self.score.name}")
        level = allowed_misses(self.alpha, self.label_noise)
        if self.rank != required_rank(self.n, level, self.delta):
            raise ValueError(f"rank {self.rank} is not that of n = {self.n}, alpha = {self.alpha}")
        if (self.threshold is None) != (self.rank is None):
            raise ValueError("threshold and rank must be given together or be null together")
        return self

    @classmethod
    def fit(
        cls,
        probabilities: ArrayLike,
        labels: ArrayLike,
        alpha: float,
        *,
        groups: ArrayLike | None = None,
        rows: Rows | None = None,
        score: Score | None = None,
        delta: float | None = None,
        label_noise: float | None = None,
        counting: Counting = "images",
        seed: int = 0,
    ) -> Self:
        """Set the threshold to the conformal order statistic of the labels' scores.

        Args:
            probabilities: (N, K) calibrated probabilities, of points that neither the model nor
                the calibrator was fitted on.
            labels: (N,) classes.
            alpha: allowed share of misses, strictly between 0 and 1.
            groups: (N,) group of every point.
            rows: ids of the points, for a randomised score and for lots.
            score: LAC by default; its parameters must not come from these points.
            delta: see the class.
            label_noise: see the class; must be less than alpha.
            counting: see the class.
            seed: of the lots.

        Raises:
            DataError: the arrays break the contract.
            ConfigError: alpha, delta or label_noise is out of range, or what the score or the
                counting needs is not given.
        """
        table = check_probabilities(probabilities)
        truth = check_labels(labels, *table.shape)
        chosen = score or Score()
        level = allowed_misses(alpha, label_noise)
        values = chosen.of(table, rows)[np.arange(len(truth)), truth]
        counted = counted_rows(counting, values, groups, rows, seed=seed)
        rank = required_rank(len(counted), level, delta)
        return cls(
            method=chosen.name,
            alpha=float(alpha),
            n_groups=count_groups(groups, len(truth)),
            threshold=order_statistic(values[counted], rank),
            n=len(counted),
            rank=rank,
            score=chosen,
            delta=delta,
            label_noise=label_noise,
            counting=counting,
        )

    def _sets(self, table: FloatArray, rows: Rows | None) -> BoolArray:
        scores = self.score.of(table, rows)
        return scores <= (np.inf if self.threshold is None else self.threshold)

    @property
    def needs_ids(self) -> bool:
        """Whether the score is randomised."""
        return self.score.seed is not None

    def promise(self, label: int | None) -> Promise | None:
        """One promise, for all classes together."""
        if label is not None:
            return None
        plain = self.label_noise is None and self.counting == "images"
        rank = self.rank if plain or self.rank is None else conformal_rank(self.n, self.alpha)
        return Promise(self.n, rank, exact=plain)

    @property
    def guarantee(self) -> str:
        """What holds, for whom, and from how many points."""
        if self.threshold is None:
            level = float(allowed_misses(self.alpha, self.label_noise))
            return too_few(self.n, level, self.delta, self.counting)
        over = "all classes" if self.delta else "all classes and over the draw of the conformal "
        if not self.delta:
            over += "images" if self.counting == "images" else "groups"
        noise = (
            ""
            if self.label_noise is None
            else f" This allows for up to {100 * self.label_noise:.6g} % wrong labels among them."
        )
        whom = image_of(self.counting, f"{self.n} ")
        sentence = (
            f"{surely(self.delta)}{whom} with probability at least {percent(self.alpha)}, "
            f"averaged over {over}; one class alone may be covered less."
        )
        return (
            sentence[0].upper()
            + sentence[1:]
            + noise
            + group_caveat(self.n, self.n_groups, self.counting)
        )


def allowed_misses(alpha: float, label_noise: float | None) -> Fraction:
    """alpha less ``label_noise``, exactly: the share of given labels that sets may miss.

    Raises:
        ConfigError: either is out of range, or nothing is left.
    """
    share = exact_share(alpha)
    if label_noise is None:
        return share
    left = share - exact_share(label_noise)
    if left <= 0:
        raise ConfigError(
            f"alpha {alpha:g} must exceed label_noise {label_noise:g}: with so many wrong labels "
            "no threshold can promise more; allow more misses, or mend the labels."
        )
    return left
