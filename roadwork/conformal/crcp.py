"""CRCP: contamination-robust conformal prediction: labels that are wrong in a known way.

Clarkson, Xu, Cucuringu, Swan, Reinert, "Split Conformal Prediction under Data Contamination", arXiv
2407.07700. The given label G of a point may differ from the true one Y, and is independent of the
image given Y. The share P[y, g] = P(Y = y | G = g) is known, from a sample that was labelled twice
with care. The scores of label i among points given label g, distributed as F_ig, then tell how
scores of true labels are distributed:

    P(score of Y <= q) = sum_i p_i sum_g (P^-1)[g, i] F_ig(q),    p = P p_given,

for the scores of i among points whose *true* label is i mix back from those among given labels.
With the empirical F of the n points, g(q) estimates by how much the coverage of true labels exceeds
that of given ones; the threshold is the least given-label score S_(k) with

    k / (n + 1) >= 1 - alpha - g(S_(k)) + C(n).

C(n) bounds the expected error of g by the Dvoretzky-Kiefer-Wolfowitz inequality, with Massart's
constant: sum_i [|(P^-1)[i, i] p_i - p_given_i| b_i + sum_(g != i) |(P^-1)[g, i] p_i| b_g],
b_g = sqrt(pi / (n p_given_g)) + (1 - p_given_g)^n. It makes sets larger than they need be for few
points, and there may be no such threshold: then every set holds every label, where the authors'
code goes on with the threshold for given labels.

The paper promises coverage of true labels of at least 1 - alpha on average over draws, for a P
that is exactly right. How wrong P may be is not covered.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field, Strict, model_validator

from roadwork.calibration.base import FloatArray, IntArray, check_labels, check_probabilities
from roadwork.conformal.base import (
    BoolArray,
    ConformalPredictor,
    Promise,
    group_caveat,
    image_of,
    percent,
)
from roadwork.conformal.groups import count_groups, counted_rows
from roadwork.conformal.ranks import conformal_rank, exact_share
from roadwork.conformal.rows import Rows
from roadwork.conformal.scores import Score
from roadwork.errors import ConfigError, DataError

__all__ = ["CrcpConformal"]

_CONDITION = 1e3  # of a noise matrix: beyond, labels say next to nothing


class CrcpConformal(ConformalPredictor):
    """Prediction sets {y : score of y <= threshold}, for true labels.

    Attributes:
        truth_given: K rows, one for each given label: the shares of true labels under it.
        n: points that count.
        rank: of the threshold among the scores of given labels; None, like the threshold, where no
            score is certain enough.
        correction: C(n), the price of estimating.
        counting: which points count: ``images`` or ``drawn``.
    """

    method: Literal["crcp"] = "crcp"
    truth_given: Annotated[tuple[Annotated[tuple[float, ...], Strict(False)], ...], Strict(False)]
    threshold: float | None
    n: int = Field(ge=1)
    rank: int | None
    correction: float = Field(ge=0.0)
    score: Score = Score()
    counting: Literal["images", "drawn"] = "images"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.rank is not None and not 1 <= self.rank <= self.n:
            raise ValueError(f"rank {self.rank} is none of {self.n} points")
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
        truth_given: ArrayLike,
        groups: ArrayLike | None = None,
        rows: Rows | None = None,
        score: Score | None = None,
        counting: Literal["images", "drawn"] = "images",
        seed: int = 0,
    ) -> Self:
        """Find the threshold for true labels from given ones.

        Args:
            probabilities: (N, K) calibrated probabilities, of points that neither the model nor
                the calibrator was fitted on.
            labels: (N,) given classes.
            alpha: allowed share of missed true labels, strictly between 0 and 1.
            truth_given: (K, K) shares; row g are those of the true labels under given label g.
            groups: (N,) group of every point.
            rows: ids of the points, for a randomised score and for lots.
            score: LAC by default; its parameters must not come from these points.
            counting: see the class.
            seed: of the lots.

        Raises:
            DataError: the arrays break the contract, or a class was given to no point.
            ConfigError: alpha is out of range, the shares are none, or say nothing about the truth.
        """
        table = check_probabilities(probabilities)
        given = check_labels(labels, *table.shape)
        shares = _check_shares(truth_given, table.shape[1])
        chosen = score or Score()
        scores = chosen.of(table, rows)
        own = scores[np.arange(len(given)), given]
        counted = counted_rows(counting, own, groups, rows, seed=seed)
        ordered = np.sort(own[counted])
        gain, correction = _gain(ordered, scores[counted], given[counted], shares)
        n = len(counted)
        level = np.arange(1, n + 1) / (n + 1)
        enough = level + gain >= 1.0 - float(exact_share(alpha)) + correction
        rank = int(np.argmax(enough)) + 1 if enough.any() else None
        return cls(
            alpha=float(alpha),
            n_groups=count_groups(groups, len(given)),
            truth_given=tuple(tuple(row) for row in shares.tolist()),
            threshold=None if rank is None else float(ordered[rank - 1]),
            n=n,
            rank=rank,
            correction=correction,
            score=chosen,
            counting=counting,
        )

    @property
    def needs_ids(self) -> bool:
        """Whether the score is randomised."""
        return self.score.seed is not None

    def _sets(self, table: FloatArray, rows: Rows | None) -> BoolArray:
        if table.shape[1] != len(self.truth_given):
            raise DataError(
                f"this predictor knows {len(self.truth_given)} classes, but the probabilities have "
                f"{table.shape[1]} columns."
            )
        return self.score.of(table, rows) <= (np.inf if self.threshold is None else self.threshold)

    def promise(self, label: int | None) -> Promise | None:
        """One promise, for true labels of all classes together."""
        if label is not None:
            return None
        rank = None if self.rank is None else conformal_rank(self.n, self.alpha)
        return Promise(self.n, rank, exact=False)

    @property
    def guarantee(self) -> str:
        """What holds, for whom, and from how many points."""
        unit = "images" if self.counting == "images" else "groups"
        if self.threshold is None:
            return (
                f"{self.n} conformal {unit} are too few, or their labels too often wrong, for "
                f"{percent(self.alpha)} coverage of true labels (estimating from wrong labels "
                f"costs {100 * self.correction:.3g} % of it): every set holds every label."
            )
        whom = image_of(self.counting, f"{self.n} ")
        return (
            f"{whom[0].upper()}{whom[1:]} with probability at least {percent(self.alpha)}, "
            "averaged over all classes and over the draw of the "
            f"conformal {unit}, although their labels are wrong as often as the noise matrix says, "
            "if that matrix is right and wrong labels are not likelier for some images of a class "
            "than for others; one class alone may be covered less."
            + group_caveat(self.n, self.n_groups, self.counting)
        )


def _gain(
    ordered: FloatArray, scores: FloatArray, given: IntArray, shares: FloatArray
) -> tuple[FloatArray, float]:
    """How much more often true labels than given ones score at most S_(k), (n,); and C(n)."""
    n, width = scores.shape
    counts = np.bincount(given, minlength=width)
    if not counts.all():
        raise DataError(
            f"no conformal point has the label {int(np.argmin(counts))}: what its labels hide "
            "cannot be estimated. Add such points."
        )
    p_given = counts / n
    inverse = np.linalg.inv(shares.T)
    # Row i, column g: weight of F_ig in the distribution of the true labels' scores.
    weights = (shares.T @ p_given)[:, None] * inverse.T
    surplus = weights - np.diag(p_given)
    gain = np.zeros(n)
    for label in range(width):
        for under in range(width):
            sample = np.sort(scores[given == under, label])
            below = np.searchsorted(sample, ordered, side="right") / counts[under]
            gain += surplus[label, under] * below
    bound = np.sqrt(np.pi / (n * p_given)) + (1.0 - p_given) ** n
    return gain, float((np.abs(surplus) @ bound).sum())


def _check_shares(truth_given: ArrayLike, width: int) -> FloatArray:
    shares = np.asarray(truth_given, dtype=np.float64)
    if shares.shape != (width, width):
        raise ConfigError(
            f"label_noise must have {width} rows of {width} shares, one row for each given label "
            f"and one share for each true one, but has shape {shares.shape}."
        )
    if not np.isfinite(shares).all() or (shares < 0).any():
        raise ConfigError("label_noise must consist of shares between 0 and 1.")
    if np.abs(shares.sum(axis=1) - 1.0).max() > 1e-9:
        raise ConfigError("every row of label_noise must sum to 1: the true labels under one given")
    if np.linalg.cond(shares) > _CONDITION:
        raise ConfigError("label_noise says that given labels hardly depend on the true ones.")
    return shares
