"""LAC: split conformal sets from the score 1 - p_y, with one threshold for all classes.

Sadinle, Lei, Wasserman, "Least Ambiguous Set-Valued Classifiers with Bounded Error Levels",
JASA 2019 (arXiv 1609.00451).
"""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field, model_validator

from roadwork.calibration.base import FloatArray, check_labels, check_probabilities
from roadwork.conformal.base import (
    BoolArray,
    ConformalPredictor,
    count_groups,
    group_caveat,
    percent,
)
from roadwork.conformal.ranks import conformal_rank, conformal_threshold, minimum_points

__all__ = ["SplitConformal", "lac_scores"]


def lac_scores(probabilities: FloatArray) -> FloatArray:
    """Nonconformity 1 - p of every label, (N, K) in float64; larger is stranger.

    Fitting and predicting both come through here: a threshold is one of these numbers, and the
    comparison ``<=`` decides ties rightly only between numbers that were computed the same way.
    """
    return 1.0 - probabilities


class SplitConformal(ConformalPredictor):
    """Prediction sets {y : 1 - p_y <= threshold}.

    The set may be empty (no label is plausible enough); an empty set is a reason to defer, like a
    set of several labels. ``threshold`` and ``rank`` are None together, when n points are too few.
    """

    method: Literal["lac"] = "lac"
    threshold: float | None
    n: int = Field(ge=1)
    rank: int | None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.rank != conformal_rank(self.n, self.alpha):
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
    ) -> Self:
        """Set the threshold to the conformal order statistic of the true labels' scores.

        Args:
            probabilities: (N, K) calibrated probabilities, of points that neither the model nor
                the calibrator was fitted on.
            labels: (N,) true classes.
            alpha: allowed share of misses, strictly between 0 and 1.
            groups: (N,) group of every point; only counted, for the wording of the guarantee.

        Raises:
            DataError: the arrays break the contract.
            ConfigError: alpha is out of range.
        """
        table = check_probabilities(probabilities)
        truth = check_labels(labels, *table.shape)
        scores = lac_scores(table)[np.arange(len(truth)), truth]
        threshold, rank = conformal_threshold(scores, alpha)
        return cls(
            alpha=float(alpha),
            n_groups=count_groups(groups, len(truth)),
            threshold=threshold,
            n=len(truth),
            rank=rank,
        )

    def predict_set(self, probabilities: ArrayLike) -> BoolArray:
        """Sets for probabilities (N, K): true where 1 - p <= threshold."""
        scores = lac_scores(check_probabilities(probabilities))
        if self.threshold is None:
            return np.ones(scores.shape, dtype=np.bool_)
        return scores <= self.threshold

    @property
    def guarantee(self) -> str:
        """What holds, for whom, and from how many points."""
        if self.threshold is None:
            return (
                f"{self.n} conformal images are too few for {percent(self.alpha)} coverage "
                f"(at least {minimum_points(self.alpha)} are needed): every set holds every label."
            )
        return (
            f"For a new image exchangeable with the {self.n} conformal images, the prediction set "
            f"contains the true label with probability at least {percent(self.alpha)}, averaged "
            "over all classes and over the draw of the conformal images; one class alone may be "
            "covered less." + group_caveat(self.n, self.n_groups)
        )
