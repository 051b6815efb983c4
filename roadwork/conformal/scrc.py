"""SCRC: selective conformal risk control: sets for the most confident images, an exact promise.

Xu, Guo, Wei, "Selective Conformal Risk Control", arXiv 2512.12844; the transductive form, SCRC-T,
with the loss "the set misses the label". A new image is accepted when its confidence, the largest
probability, is among the m = ceil(selection (n + 1)) largest of its own and those of the n
conformal points; its threshold is the conformal order statistic of the accepted points' scores.
Which points are accepted is a symmetric function of all n + 1, so that the accepted ones remain
exchangeable and P(set contains the label | accepted) >= 1 - alpha holds exactly. (Reconstructed
from the abstract and that lemma; the paper's own constants were not at hand.)

Nothing has to be computed anew for a request. With b the m-th largest confidence of the n points,
an image above b is accepted beside the m - 1 points above b, whatever its confidence is; an image
at b, beside all points from b on; others are not accepted. Two thresholds therefore say it all.

An image that is not accepted gets every label: its answer is deferred.
"""

from __future__ import annotations

import math
from typing import Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict, Field, model_validator

from roadwork.calibration.base import FloatArray, check_labels, check_probabilities
from roadwork.conformal.base import (
    BoolArray,
    ConformalPredictor,
    Promise,
    group_caveat,
    image_of,
    percent,
    surely,
)
from roadwork.conformal.groups import count_groups, counted_rows
from roadwork.conformal.ranks import (
    exact_share,
    minimum_points,
    order_statistic,
    required_rank,
)
from roadwork.conformal.rows import Rows
from roadwork.conformal.scores import Score

__all__ = ["Accepted", "ScrcConformal"]


class Accepted(BaseModel):
    """Threshold from the n accepted points; it and the rank are None where they are too few."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    n: int = Field(ge=0)
    rank: int | None
    threshold: float | None

    @property
    def limit(self) -> float:
        """The threshold as a number, infinity for None."""
        return np.inf if self.threshold is None else self.threshold


class ScrcConformal(ConformalPredictor):
    """Prediction sets {y : score of y <= threshold} of accepted images; all labels for others.

    Attributes:
        selection: share of images to accept at least, for untied confidences.
        n: points that count.
        cutoff: confidence from which on an image is accepted; None accepts all.
        above: for images that are more confident than the cutoff.
        at: for images as confident as the cutoff.
        delta: allowed probability that the draw of the points breaks the promise; None: the
            promise is an average over draws.
        counting: which points count: ``images`` or ``drawn``.
    """

    method: Literal["scrc"] = "scrc"
    selection: float = Field(gt=0.0, lt=1.0)
    n: int = Field(ge=1)
    cutoff: float | None
    above: Accepted
    at: Accepted
    score: Score = Score()
    delta: float | None = Field(default=None, gt=0.0, lt=1.0)
    counting: Literal["images", "drawn"] = "images"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for part in (self.above, self.at):
            if part.rank != required_rank(part.n, self.alpha, self.delta):
                raise ValueError(f"rank {part.rank} is not that of {part.n} accepted points")
            if (part.threshold is None) != (part.rank is None):
                raise ValueError("threshold and rank must be null together")
        return self

    @classmethod
    def fit(
        cls,
        probabilities: ArrayLike,
        labels: ArrayLike,
        alpha: float,
        *,
        selection: float,
        groups: ArrayLike | None = None,
        rows: Rows | None = None,
        score: Score | None = None,
        delta: float | None = None,
        counting: Literal["images", "drawn"] = "images",
        seed: int = 0,
    ) -> Self:
        """Find the cutoff, and the thresholds from the points on its far side.

        Args:
            probabilities: (N, K) calibrated probabilities, of points that neither the model nor
                the calibrator was fitted on.
            labels: (N,) true classes.
            alpha: allowed share of misses among the accepted, strictly between 0 and 1.
            selection: see the class.
            groups: (N,) group of every point.
            rows: ids of the points, for a randomised score and for lots.
            score: LAC by default; its parameters must not come from these points.
            delta: see the class.
            counting: see the class.
            seed: of the lots.

        Raises:
            DataError: the arrays break the contract.
            ConfigError: alpha, selection or delta is out of range, or what the score or the
                counting needs is not given.
        """
        table = check_probabilities(probabilities)
        truth = check_labels(labels, *table.shape)
        chosen = score or Score()
        values = chosen.of(table, rows)[np.arange(len(truth)), truth]
        counted = counted_rows(counting, values, groups, rows, seed=seed)
        values, confidence = values[counted], table.max(axis=1)[counted]
        n = len(counted)
        m = math.ceil(exact_share(selection) * (n + 1))
        cutoff = float(np.sort(confidence)[n - m]) if m <= n else None
        # Of the points at the cutoff, an image above it displaces one where confidences are tied:
        # it is accepted with the m - 1 most confident points, and with those tied with the last.
        least = np.inf if m == 1 else float(np.sort(confidence)[n - m + 1])

        def accepted(kept: BoolArray) -> Accepted:
            rank = required_rank(int(kept.sum()), alpha, delta)
            return Accepted(
                n=int(kept.sum()), rank=rank, threshold=order_statistic(values[kept], rank)
            )

        return cls(
            alpha=float(alpha),
            n_groups=count_groups(groups, len(truth)),
            selection=float(selection),
            n=n,
            cutoff=cutoff,
            above=accepted(confidence >= least),
            at=accepted(confidence >= (least if cutoff is None else cutoff)),
            score=chosen,
            delta=delta,
            counting=counting,
        )

    @property
    def needs_ids(self) -> bool:
        """Whether the score is randomised."""
        return self.score.seed is not None

    def judged(self, probabilities: ArrayLike) -> BoolArray:
        """Whether each row (N,) is accepted."""
        confidence = check_probabilities(probabilities).max(axis=1)
        return confidence >= (-np.inf if self.cutoff is None else self.cutoff)

    def _sets(self, table: FloatArray, rows: Rows | None) -> BoolArray:
        confidence = table.max(axis=1)
        cutoff = -np.inf if self.cutoff is None else self.cutoff
        limit = np.where(confidence > cutoff, self.above.limit, self.at.limit)
        limit = np.where(confidence >= cutoff, limit, np.inf)
        return self.score.of(table, rows) <= limit[:, None]

    def promise(self, label: int | None) -> Promise | None:
        """One promise, for the accepted images of all classes together.

        Given the cutoff, the scores of the points above it are drawn as those of accepted images
        are: their number takes the place of n in the law of coverage.
        """
        if label is not None:
            return None
        exact = self.counting == "images" and self.above.rank is not None
        return Promise(self._bounding.n, self._bounding.rank, exact)

    @property
    def _bounding(self) -> Accepted:
        """The threshold that bounds sets: where confidences are tied, only ``at`` may."""
        return self.at if self.above.rank is None else self.above

    @property
    def guarantee(self) -> str:
        """What holds, for whom, and from how many points."""
        unit = "images" if self.counting == "images" else "groups"
        if self._bounding.threshold is None:
            least = minimum_points(self.alpha, self.delta)
            return (
                f"{self._bounding.n} accepted conformal {unit} are too few for "
                f"{percent(self.alpha)} coverage (at least {least} are needed): every set holds "
                "every label."
            )
        over = "" if self.delta else f" and over the draw of the conformal {unit}"
        whom = image_of(self.counting, f"{self.n} ")
        sentence = (
            f"{surely(self.delta)}{whom} with probability at least {percent(self.alpha)}, given "
            f"that its confidence is among the highest {100 * self.selection:.6g} %, averaged over "
            f"all classes{over}: the threshold rests on the {self._bounding.n} most confident "
            f"{unit}. Other images get every label and are deferred; one class alone may be "
            "covered less."
        )
        caveat = group_caveat(self.n, self.n_groups, self.counting)
        return sentence[0].upper() + sentence[1:] + caveat
