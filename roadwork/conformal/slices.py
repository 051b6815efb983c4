"""Mondrian conformal sets by slice: one threshold for each value of a column, such as the weather.

The promise then holds within every slice, for all classes of it together. See
:mod:`roadwork.conformal.cells`.

Where the slice of an image is not known, as in service, a label is in the set if it would be in
the set of some slice: whatever the slice is, its own set is contained, so that the promise of the
slice holds all the same. It costs size, and one slice with too few points makes every set full.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Strict

from roadwork.calibration.base import FloatArray, check_labels, check_probabilities
from roadwork.conformal.base import BoolArray, Promise
from roadwork.conformal.cells import CellPredictor, CellThresholds
from roadwork.conformal.groups import Counting, count_groups
from roadwork.conformal.ranks import conformal_rank
from roadwork.conformal.rows import Rows
from roadwork.conformal.scores import Score
from roadwork.errors import DataError

__all__ = ["SliceConformal"]


class SliceConformal(CellPredictor):
    """Prediction sets {y : score of y <= threshold of the image's slice}.

    A slice that had no conformal image is unbounded: its sets hold every label.

    Attributes:
        column: name of the column of slices.
        slices: its values, sorted; None, "not given", is a slice like the others, and the first.
    """

    per = "slice"

    method: Literal["mondrian_slice"] = "mondrian_slice"
    column: str
    slices: Annotated[tuple[str | None, ...], Strict(False)]

    @classmethod
    def fit(
        cls,
        probabilities: ArrayLike,
        labels: ArrayLike,
        alpha: float,
        *,
        column: str,
        slices: Sequence[str | None],
        groups: ArrayLike | None = None,
        rows: Rows | None = None,
        score: Score | None = None,
        delta: float | None = None,
        counting: Counting = "images",
        seed: int = 0,
    ) -> Self:
        """Set each slice's threshold to the order statistic of the scores of its own images.

        Args:
            probabilities: (N, K) calibrated probabilities, of points that neither the model nor
                the calibrator was fitted on.
            labels: (N,) true classes.
            alpha: allowed share of misses in every slice, strictly between 0 and 1.
            column: name of the slices, for people.
            slices: (N,) slice of every point; None where it is not given.
            groups: (N,) group of every point.
            rows: ids of the points, for a randomised score and for lots.
            score: LAC by default; its parameters must not come from these points.
            delta: see :class:`~roadwork.conformal.cells.CellPredictor`.
            counting: the same; one of every group means: one of those of the slice.
            seed: of the lots.

        Raises:
            DataError: the arrays break the contract, or there is not one slice per row.
            ConfigError: alpha or delta is out of range, or what the score or the counting needs is
                not given.
        """
        table = check_probabilities(probabilities)
        truth = check_labels(labels, *table.shape)
        if len(slices) != len(truth):
            raise DataError(f"{len(slices)} values of {column} for {len(truth)} rows.")
        known = tuple(sorted(set(slices), key=lambda value: (value is not None, value or "")))
        codes = np.array([known.index(value) for value in slices], dtype=np.int64)
        chosen = score or Score()
        values = chosen.of(table, rows)[np.arange(len(truth)), truth]
        found = CellThresholds.fit(
            values, codes, len(known), alpha, delta, counting, groups, rows, seed
        )
        return cls(
            alpha=float(alpha),
            n_groups=count_groups(groups, len(truth)),
            column=column,
            slices=known,
            score=chosen,
            delta=delta,
            counting=counting,
            **found._asdict(),
        )

    @property
    def cells(self) -> tuple[str, ...]:
        """Names of the slices."""
        return tuple("not given" if value is None else value for value in self.slices)

    def _sets(self, table: FloatArray, rows: Rows | None) -> BoolArray:
        scores = self.score.of(table, rows)
        if rows is None or rows.slices is None:
            return scores <= self.limits.max()
        if len(rows.slices) != len(table):
            raise DataError(f"{len(rows.slices)} values of {self.column} for {len(table)} rows.")
        limits = dict(zip(self.slices, self.limits.tolist(), strict=True))
        return scores <= np.array([[limits.get(value, np.inf)] for value in rows.slices])

    def promise(self, label: int | None) -> Promise | None:
        """What holds in every slice holds for all images; their law is that of no one slice."""
        if label is not None:
            return None
        points = sum(self.n)
        unbounded = any(rank is None for rank in self.ranks)
        return Promise(points, None if unbounded else conformal_rank(points, self.alpha), False)

    @property
    def guarantee(self) -> str:
        """What holds, for which slice of which column, and from how many points."""
        known = self._promised("slice")
        return (
            f"{known} Slices are those of '{self.column}'; where that of an image is not known, as "
            "in service, its set holds every label that the set of some slice would hold."
        )
