"""Mondrian (class-conditional) conformal sets: one threshold for each class.

Vovk, "Conditional Validity of Inductive Conformal Predictors", ACML 2012 (arXiv 1209.2673). The
score is that of LAC, 1 - p_y; the promise then holds within every class, which is what a rare
positive class needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Strict, model_validator

from roadwork.calibration.base import check_labels, check_probabilities
from roadwork.conformal.base import (
    BoolArray,
    ConformalPredictor,
    count_groups,
    group_caveat,
    percent,
)
from roadwork.conformal.lac import lac_scores
from roadwork.conformal.ranks import conformal_rank, conformal_threshold, minimum_points
from roadwork.errors import DataError

__all__ = ["MondrianConformal"]

_BINARY_CLASSES = ("none", "roadwork")


class MondrianConformal(ConformalPredictor):
    """Prediction sets {y : 1 - p_y <= threshold of y}.

    Every tuple has one entry per class. A class with too few points has threshold and rank None:
    its label is in every set, which keeps the promise at the price of larger sets. A set may be
    empty, and its only label need not be the most probable one, since thresholds differ.
    """

    # Strict tuples would refuse the lists that JSON gives; what is in them stays strict.
    method: Literal["mondrian"] = "mondrian"
    classes: Annotated[tuple[str, ...], Strict(False)]
    thresholds: Annotated[tuple[float | None, ...], Strict(False)]
    n: Annotated[tuple[int, ...], Strict(False)]
    ranks: Annotated[tuple[int | None, ...], Strict(False)]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len({len(self.classes), len(self.thresholds), len(self.n), len(self.ranks)}) != 1:
            raise ValueError("classes, thresholds, n and ranks must have one entry per class")
        for name, threshold, n, rank in zip(
            self.classes, self.thresholds, self.n, self.ranks, strict=True
        ):
            if n < 0 or rank != conformal_rank(n, self.alpha):
                raise ValueError(f"class {name}: rank {rank} is not that of n = {n}")
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
        classes: Sequence[str] | None = None,
    ) -> Self:
        """Set each class's threshold to the order statistic of that class's own scores.

        Args:
            probabilities: (N, K) calibrated probabilities, of points that neither the model nor
                the calibrator was fitted on.
            labels: (N,) true classes; a class may be rare or absent.
            alpha: allowed share of misses in every class, strictly between 0 and 1.
            groups: (N,) group of every point; only counted, for the wording of the guarantee.
            classes: K names; by default "none" and "roadwork" when K is 2, else the numbers.

        Raises:
            DataError: the arrays break the contract, or there are not K names.
            ConfigError: alpha is out of range.
        """
        table = check_probabilities(probabilities)
        rows, width = table.shape
        truth = check_labels(labels, rows, width)
        default = _BINARY_CLASSES if width == 2 else tuple(str(k) for k in range(width))
        names = default if classes is None else tuple(classes)
        if len(names) != width:
            raise DataError(f"{width} classes need {width} names, but {len(names)} were given.")
        scores = lac_scores(table)
        fitted = [conformal_threshold(scores[truth == k, k], alpha) for k in range(width)]
        return cls(
            alpha=float(alpha),
            n_groups=count_groups(groups, rows),
            classes=names,
            thresholds=tuple(threshold for threshold, _ in fitted),
            n=tuple(int((truth == k).sum()) for k in range(width)),
            ranks=tuple(rank for _, rank in fitted),
        )

    def predict_set(self, probabilities: ArrayLike) -> BoolArray:
        """Sets for probabilities (N, K): true where 1 - p is at most the class's threshold.

        Raises:
            DataError: the number of columns is not the number of classes.
        """
        scores = lac_scores(check_probabilities(probabilities))
        if scores.shape[1] != len(self.classes):
            raise DataError(
                f"this predictor knows {len(self.classes)} classes ({', '.join(self.classes)}), "
                f"but the probabilities have {scores.shape[1]} columns."
            )
        limits = [np.inf if limit is None else limit for limit in self.thresholds]
        return scores <= np.array(limits)

    @property
    def guarantee(self) -> str:
        """What holds, for which class, and from how many points."""
        least = minimum_points(self.alpha)
        parts: list[str] = []
        for name, threshold, n in zip(self.classes, self.thresholds, self.n, strict=True):
            if threshold is None:
                parts.append(
                    f"'{name}' has only {n} conformal images ({least} are needed), so that its "
                    "label is always included"
                )
            else:
                parts.append(f"'{name}' holds from {n} conformal images")
        return (
            "For a new image exchangeable with the conformal images of its own class, the "
            f"prediction set contains the true label with probability at least "
            f"{percent(self.alpha)}, within every class and averaged over the draw of the "
            f"conformal images: {'; '.join(parts)}." + group_caveat(sum(self.n), self.n_groups)
        )
