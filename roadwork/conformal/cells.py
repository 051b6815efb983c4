"""Mondrian predictors: one threshold for each cell, a cell being a class or a slice.

Vovk, "Conditional Validity of Inductive Conformal Predictors", ACML 2012 (arXiv 1209.2673): where
points are cut into cells by what each point is, every cell is a split conformal predictor of its
own, and the promise holds within the cell.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, Strict, model_validator

from roadwork.calibration.base import FloatArray
from roadwork.conformal.base import ConformalPredictor, group_caveat, image_of, percent, surely
from roadwork.conformal.groups import Counting, counted_rows
from roadwork.conformal.ranks import minimum_points, order_statistic, required_rank
from roadwork.conformal.rows import Rows
from roadwork.conformal.scores import Score

__all__ = ["CellPredictor", "CellThresholds"]


class CellThresholds(NamedTuple):
    """Threshold, points and rank of every cell."""

    thresholds: tuple[float | None, ...]
    n: tuple[int, ...]
    ranks: tuple[int | None, ...]

    @classmethod
    def fit(
        cls,
        scores: FloatArray,
        cells: NDArray[np.int64],
        count: int,
        alpha: float,
        delta: float | None,
        counting: Counting,
        groups: ArrayLike | None,
        rows: Rows | None,
        seed: int,
    ) -> Self:
        """The order statistic of the scores (N,) of every one of ``count`` cells (N,)."""
        counted = counted_rows(counting, scores, groups, rows, cells, seed)
        parts = [scores[counted][cells[counted] == cell] for cell in range(count)]
        ranks = tuple(required_rank(len(part), alpha, delta) for part in parts)
        return cls(
            thresholds=tuple(map(order_statistic, parts, ranks)),
            n=tuple(map(len, parts)),
            ranks=ranks,
        )


class CellPredictor(ConformalPredictor):
    """Prediction sets {y : score of y <= threshold of the cell}.

    Every tuple has one entry per cell. A cell with too few points has threshold and rank None:
    labels are always in its sets, which keeps the promise at the price of larger sets. ``delta``
    holds for each cell alone, not for all at once.

    Attributes:
        thresholds: of the cells.
        n: points that count, by cell.
        ranks: of the thresholds among the points of their cells.
        score: LAC by default.
        delta: allowed probability that the draw of the points breaks the promise of a cell; None:
            the promise is an average over draws.
        counting: which points count; see :mod:`roadwork.conformal.groups`.
    """

    # Strict tuples would refuse the lists that JSON gives; what is in them stays strict.
    thresholds: Annotated[tuple[float | None, ...], Strict(False)]
    n: Annotated[tuple[int, ...], Strict(False)]
    ranks: Annotated[tuple[int | None, ...], Strict(False)]
    score: Score = Score()
    delta: float | None = Field(default=None, gt=0.0, lt=1.0)
    counting: Counting = "images"

    @property
    def cells(self) -> tuple[str, ...]:
        """Names of the cells, for people."""
        raise TypeError("a cell predictor names its cells")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len({len(self.cells), len(self.thresholds), len(self.n), len(self.ranks)}) != 1:
            raise ValueError("names, thresholds, n and ranks must have one entry per cell")
        for name, threshold, n, rank in zip(
            self.cells, self.thresholds, self.n, self.ranks, strict=True
        ):
            if n < 0 or rank != required_rank(n, self.alpha, self.delta):
                raise ValueError(f"{name}: rank {rank} is not that of n = {n}")
            if (threshold is None) != (rank is None):
                raise ValueError(f"{name}: threshold and rank must be null together")
        return self

    @property
    def needs_ids(self) -> bool:
        """Whether the score is randomised."""
        return self.score.seed is not None

    @property
    def limits(self) -> FloatArray:
        """Thresholds as numbers, infinity for None."""
        return np.array([np.inf if limit is None else limit for limit in self.thresholds])

    def _promised(self, cell: str) -> str:
        """The sentence of the promise within every ``cell``, "class" or "slice"."""
        least = minimum_points(self.alpha, self.delta)
        unit = "images" if self.counting == "images" else "groups"
        parts: list[str] = []
        for name, threshold, n in zip(self.cells, self.thresholds, self.n, strict=True):
            if threshold is None:
                included = "its label is" if cell == "class" else "every label is"
                parts.append(
                    f"'{name}' has only {n} conformal {unit} ({least} are needed), so that "
                    f"{included} always included"
                )
            else:
                parts.append(f"'{name}' holds from {n} conformal {unit}")
        over = "" if self.delta else f" and averaged over the draw of the conformal {unit}"
        each = " taken by itself" if self.delta else ""
        sentence = (
            f"{surely(self.delta)}{image_of(self.counting, '', f' of its own {cell}')} with "
            f"probability at least {percent(self.alpha)}, within every {cell}{each}{over}: "
            f"{'; '.join(parts)}."
        )
        caveat = group_caveat(sum(self.n), self.n_groups, self.counting)
        return sentence[0].upper() + sentence[1:] + caveat
