"""Class-conditional (Mondrian) conformal sets: one threshold for each class.

The promise then holds within every class, which is what a rare positive class needs. See
:mod:`roadwork.conformal.cells`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Strict

from roadwork.calibration.base import FloatArray, check_labels, check_probabilities
from roadwork.conformal.base import BoolArray, Promise, check_width, class_names
from roadwork.conformal.cells import CellPredictor, CellThresholds
from roadwork.conformal.groups import Counting, count_groups
from roadwork.conformal.ranks import conformal_rank
from roadwork.conformal.rows import Rows
from roadwork.conformal.scores import Score

__all__ = ["MondrianConformal"]


class MondrianConformal(CellPredictor):
    """Prediction sets {y : score of y <= threshold of y}.

    A set may be empty, and its only label need not be the most probable one, since thresholds
    differ. ``classes`` are the names of the K cells.
    """

    per = "class"

    method: Literal["mondrian"] = "mondrian"
    classes: Annotated[tuple[str, ...], Strict(False)]

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
        counting: Counting = "images",
        seed: int = 0,
        classes: Sequence[str] | None = None,
    ) -> Self:
        """Set each class's threshold to the order statistic of that class's own scores.

        Args:
            probabilities: (N, K) calibrated probabilities, of points that neither the model nor
                the calibrator was fitted on.
            labels: (N,) true classes; a class may be rare or absent.
            alpha: allowed share of misses in every class, strictly between 0 and 1.
            groups: (N,) group of every point.
            rows: ids of the points, for a randomised score and for lots.
            score: LAC by default; its parameters must not come from these points.
            delta: see :class:`~roadwork.conformal.cells.CellPredictor`.
            counting: the same; one of every group means: one of those of the class.
            seed: of the lots.
            classes: K names; by default "none" and "roadwork" when K is 2, else the numbers.

        Raises:
            DataError: the arrays break the contract, or there are not K names.
            ConfigError: alpha or delta is out of range, or what the score or the counting needs is
                not given.
        """
        table = check_probabilities(probabilities)
        truth = check_labels(labels, *table.shape)
        names = class_names(table.shape[1], None if classes is None else tuple(classes))
        chosen = score or Score()
        values = chosen.of(table, rows)[np.arange(len(truth)), truth]
        found = CellThresholds.fit(
            values, truth, len(names), alpha, delta, counting, groups, rows, seed
        )
        return cls(
            alpha=float(alpha),
            n_groups=count_groups(groups, len(truth)),
            classes=names,
            score=chosen,
            delta=delta,
            counting=counting,
            **found._asdict(),
        )

    @property
    def cells(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.classes

    def _sets(self, table: FloatArray, rows: Rows | None) -> BoolArray:
        check_width(table, self.classes)
        return self.score.of(table, rows) <= self.limits

    def promise(self, label: int | None) -> Promise | None:
        """One promise for every class."""
        if label is None:
            return None
        n, rank, plain = self.n[label], self.ranks[label], self.counting == "images"
        return Promise(n, rank if plain else conformal_rank(n, self.alpha), exact=plain)

    @property
    def guarantee(self) -> str:
        """What holds, for which class, and from how many points."""
        return self._promised("class")
