"""RC3P: class-conditional sets that also cut off a label by its rank.

Shi, Ghosh, Belkhouja, Doppa, Yan, "Conformal Prediction for Class-wise Coverage via Augmented Label
Rank Calibration", NeurIPS 2024, arXiv 2406.06818. For every class y, k_y is the least k for which
the share e_y of its points whose label is not among the k most probable stays below alpha; the
threshold is set at alpha - e_y; and y is in the set when its score is at most the threshold *and*
its rank at most k_y. By the union bound a label is missed with probability at most
e_y + (alpha - e_y) = alpha, **if e_y were the true top-k error**. It is that of the same points, so
that, unlike Mondrian sets, this promises class coverage for many points and not exactly for few.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Strict, model_validator

from roadwork.calibration.base import FloatArray, check_labels, check_probabilities
from roadwork.conformal.base import (
    BoolArray,
    ConformalPredictor,
    Promise,
    check_width,
    class_names,
    group_caveat,
    image_of,
    percent,
)
from roadwork.conformal.groups import count_groups, counted_rows
from roadwork.conformal.ranks import conformal_rank, exact_share, order_statistic
from roadwork.conformal.rows import Rows
from roadwork.conformal.scores import Score, label_ranks

__all__ = ["Rc3pConformal"]


class Rc3pConformal(ConformalPredictor):
    """Prediction sets {y : score of y <= threshold of y, and rank of y <= top of y}.

    Every tuple has one entry per class. A class with too few points for a threshold (rank None) is
    always included; the paper would still cut it off by its rank.

    Attributes:
        thresholds: of the scores.
        n: points that count.
        ranks: of the thresholds among them, at alpha - missed / n.
        top: k_y, from 1.
        missed: points whose label is not among the ``top`` most probable.
        counting: which points count: ``images`` or ``drawn``.
    """

    per = "class"

    method: Literal["rc3p"] = "rc3p"
    classes: Annotated[tuple[str, ...], Strict(False)]
    thresholds: Annotated[tuple[float | None, ...], Strict(False)]
    n: Annotated[tuple[int, ...], Strict(False)]
    ranks: Annotated[tuple[int | None, ...], Strict(False)]
    top: Annotated[tuple[int, ...], Strict(False)]
    missed: Annotated[tuple[int, ...], Strict(False)]
    score: Score = Score()
    counting: Literal["images", "drawn"] = "images"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        columns = (self.thresholds, self.n, self.ranks, self.top, self.missed)
        if {len(column) for column in columns} != {len(self.classes)}:
            raise ValueError("every tuple must have one entry per class")
        for name, (threshold, n, rank, _, missed) in zip(
            self.classes, zip(*columns, strict=True), strict=True
        ):
            if not 0 <= missed <= n or rank != _rank(n, missed, self.alpha):
                raise ValueError(f"class {name}: rank {rank} is not that of n = {n}, {missed=}")
            if (threshold is None) != (rank is None):
                raise ValueError(f"class {name}: threshold and rank must be null together")
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
        counting: Literal["images", "drawn"] = "images",
        seed: int = 0,
        classes: Sequence[str] | None = None,
    ) -> Self:
        """Choose rank and threshold of every class from its own points.

        Args:
            probabilities: (N, K) calibrated probabilities, of points that neither the model nor
                the calibrator was fitted on.
            labels: (N,) true classes; a class may be rare or absent.
            alpha: allowed share of misses in every class, strictly between 0 and 1.
            groups: (N,) group of every point.
            rows: ids of the points, for a randomised score and for lots.
            score: LAC by default; its parameters must not come from these points.
            counting: see the class.
            seed: of the lots.
            classes: K names; by default "none" and "roadwork" when K is 2, else the numbers.

        Raises:
            DataError: the arrays break the contract, or there are not K names.
            ConfigError: alpha is out of range, or what the score or the counting needs is missing.
        """
        table = check_probabilities(probabilities)
        truth = check_labels(labels, *table.shape)
        width = table.shape[1]
        names = class_names(width, None if classes is None else tuple(classes))
        chosen = score or Score()
        at = np.arange(len(truth))
        values, places = chosen.of(table, rows)[at, truth], label_ranks(table)[at, truth]
        counted = counted_rows(counting, values, groups, rows, truth, seed)
        share = exact_share(alpha)
        found: list[tuple[float | None, int, int | None, int, int]] = []
        for k in range(width):
            own = counted[truth[counted] == k]
            n = len(own)
            # Points outside the first k ranks, for k from 1 on; none is outside of all K.
            outside = [int((places[own] > top).sum()) for top in range(1, width + 1)]
            top = next(j for j, missed in enumerate(outside, 1) if missed < share * n or j == width)
            missed = outside[top - 1]
            rank = _rank(n, missed, alpha)
            found.append((order_statistic(values[own], rank), n, rank, top, missed))
        thresholds, n, ranks, tops, missed = zip(*found, strict=True)
        return cls(
            alpha=float(alpha),
            n_groups=count_groups(groups, len(truth)),
            classes=names,
            thresholds=thresholds,
            n=n,
            ranks=ranks,
            top=tops,
            missed=missed,
            score=chosen,
            counting=counting,
        )

    @property
    def needs_ids(self) -> bool:
        """Whether the score is randomised."""
        return self.score.seed is not None

    def _sets(self, table: FloatArray, rows: Rows | None) -> BoolArray:
        check_width(table, self.classes)
        limits = np.array([np.inf if limit is None else limit for limit in self.thresholds])
        near = label_ranks(table) <= np.array(self.top)
        return np.isinf(limits) | ((self.score.of(table, rows) <= limits) & near)

    def promise(self, label: int | None) -> Promise | None:
        """One promise for every class; its law is only roughly that of Mondrian sets."""
        if label is None:
            return None
        rank = None if self.ranks[label] is None else conformal_rank(self.n[label], self.alpha)
        return Promise(self.n[label], rank, exact=False)

    @property
    def guarantee(self) -> str:
        """What holds roughly, for which class, and from how many points."""
        unit = "images" if self.counting == "images" else "groups"
        parts = [
            f"'{name}' has only {n} conformal {unit}, so that its label is always included"
            if threshold is None
            else f"'{name}' rests on {n} conformal {unit}"
            for name, threshold, n in zip(self.classes, self.thresholds, self.n, strict=True)
        ]
        whom = image_of(self.counting, "", " of its own class")
        return (
            f"{whom[0].upper()}{whom[1:]} with probability of about {percent(self.alpha)} or more, "
            f"within every class: {'; '.join(parts)}. The promise would be exact if the share of "
            "labels beyond the allowed rank were known; here it is that of the same points."
            + group_caveat(sum(self.n), self.n_groups, self.counting)
        )


def _rank(n: int, missed: int, alpha: float) -> int | None:
    """Rank at alpha - missed / n, by exact arithmetic; None without a point."""
    if n == 0:
        return None
    left = exact_share(alpha) - Fraction(missed, n)
    return conformal_rank(n, left) if left > 0 else None
