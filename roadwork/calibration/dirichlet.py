"""Dirichlet calibration: a matrix on the log probabilities of all classes, held back by a penalty.

Kull, Perello-Nieto, Kängsepp, Silva Filho, Song, Flach, "Beyond temperature scaling: Obtaining
well-calibrated multiclass probabilities with Dirichlet calibration", NeurIPS 2019,
arXiv 1910.12656. For two classes it is beta calibration whose slopes may be negative.

W and b are not identifiable from the probabilities alone (the same row added to every row of W
changes nothing): compare probabilities or likelihoods of two fits, never their matrices.
"""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field, Strict, model_validator

from roadwork.calibration.base import (
    Calibrator,
    FloatArray,
    IntArray,
    check_labels,
    check_matrix,
    log_softmax,
    require_classes,
    softmax,
)
from roadwork.calibration.folds import deal_groups, most_folds
from roadwork.calibration.newton import minimise
from roadwork.errors import DataError

__all__ = ["LARGEST", "STRENGTHS", "DirichletL2", "DirichletODIR"]

LARGEST = math.exp(4.0)
"""Entries of W stay in [-54.6, 54.6]."""

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Strengths of the penalty to choose from, lambda and mu alike."""

_FOLDS = 3
_FORMULA = "softmax(weights @ ln softmax(logits) + bias)"

Row = Annotated[tuple[float, ...], Strict(False)]
Rows = Annotated[tuple[Row, ...], Strict(False)]


class _Dirichlet(Calibrator):
    """q = softmax(W ln p + b), with p the softmax of the logits.

    Attributes:
        weights: W, (K, K), row i for class i.
        bias: b, (K,).
        strength: of the penalty.
        at_bound: an entry of W lies on a bound of [-54.6, 54.6].
    """

    convention: Literal["softmax(weights @ ln softmax(logits) + bias)"] = _FORMULA
    weights: Rows
    bias: Row
    strength: float = Field(gt=0.0)
    at_bound: bool

    penalises_diagonal: ClassVar[bool]

    @model_validator(mode="after")
    def _square(self) -> Self:
        if len(self.bias) < 2 or any(len(row) != len(self.bias) for row in self.weights):
            raise ValueError("weights must be square and as large as the bias")
        if len(self.weights) != len(self.bias):
            raise ValueError("weights must be square and as large as the bias")
        return self

    @classmethod
    def fit(cls, logits: ArrayLike, labels: ArrayLike, groups: ArrayLike | None = None) -> Self:
        """Least mean negative log-likelihood plus the penalty.

        The strength is the one of ``STRENGTHS`` with the least negative log-likelihood in a
        three-fold cross-validation over groups within these rows, the stronger of two equal ones;
        the strongest where the rows cannot be dealt into folds that each leave all classes.

        Args:
            logits: (N, K) finite scores, of the same kind as those served.
            labels: (N,) classes, at least two different ones.
            groups: (N,) group of every row; without them every row is its own.

        Raises:
            DataError: the arrays break the contract, or all labels are of one class.
            TrainingError: the optimiser did not converge.
        """
        scores = check_matrix(logits, "logits")
        classes = check_labels(labels, *scores.shape)
        require_classes(classes, "Dirichlet map")
        names = np.arange(len(classes)) if groups is None else np.asarray(groups)
        logs = log_softmax(scores)
        strength = cls._choose(logs, classes, names)
        weights, bias = cls._minimise(logs, classes, strength)
        return cls(
            weights=tuple(tuple(row) for row in weights.tolist()),
            bias=tuple(bias.tolist()),
            strength=strength,
            at_bound=bool((np.abs(weights) >= LARGEST).any()),
        )

    def calibrated(self, logits: ArrayLike) -> FloatArray:
        """W ln p + b, (N, K).

        Raises:
            DataError: the logits break the contract or have another number of classes.
        """
        scores = check_matrix(logits, "logits")
        if scores.shape[1] != len(self.bias):
            raise DataError(
                f"the calibrator was fitted for {len(self.bias)} classes and the logits have "
                f"{scores.shape[1]}"
            )
        return log_softmax(scores) @ np.array(self.weights).T + np.array(self.bias)

    @classmethod
    def _choose(cls, logs: FloatArray, labels: IntArray, groups: np.ndarray) -> float:
        count = min(_FOLDS, most_folds(labels, groups))
        if count < 2:
            return max(STRENGTHS)
        folds = deal_groups(labels, groups, count, seed=0)
        losses = []
        for strength in STRENGTHS:
            total = 0.0
            for number in range(count):
                held = folds == number
                weights, bias = cls._minimise(logs[~held], labels[~held], strength)
                found = log_softmax(logs[held] @ weights.T + bias)
                total -= float(found[np.arange(int(held.sum())), labels[held]].sum())
            losses.append(total / len(labels))
        least = min(losses)
        return max(s for s, loss in zip(STRENGTHS, losses, strict=True) if loss <= least)

    @classmethod
    def _minimise(
        cls, logs: FloatArray, labels: IntArray, strength: float
    ) -> tuple[FloatArray, FloatArray]:
        k = logs.shape[1]
        inputs = np.concatenate([logs, np.ones((len(logs), 1))], axis=1)
        truth = np.eye(k)[labels]
        penalty = np.full((k, k + 1), strength / k)
        off_diagonal = strength / (k * (k - 1))
        penalty[:, :k] = strength / k**2 if cls.penalises_diagonal else off_diagonal
        if not cls.penalises_diagonal:
            penalty[np.arange(k), np.arange(k)] = 0.0

        def objective(flat: FloatArray) -> tuple[float, FloatArray, FloatArray]:
            table = flat.reshape(k, k + 1)
            odds = inputs @ table.T
            logs_of = log_softmax(odds)
            chance = softmax(odds)
            loss = -float((logs_of * truth).sum()) / len(truth) + float((penalty * table**2).sum())
            slope = (chance - truth).T @ inputs / len(truth) + 2.0 * penalty * table
            curvature = np.zeros((k, k + 1, k, k + 1))
            for i in range(k):
                for j in range(i, k):
                    spread = chance[:, i] * ((i == j) - chance[:, j])
                    block = (inputs.T * spread) @ inputs / len(truth)
                    curvature[i, :, j, :] = curvature[j, :, i, :] = block
            full = curvature.reshape(flat.size, flat.size) + np.diag(2.0 * penalty.ravel())
            return loss, slope.ravel(), full

        bound = np.full((k, k + 1), LARGEST)
        bound[:, k] = np.inf
        start = np.concatenate([np.eye(k), np.zeros((k, 1))], axis=1).ravel()
        found = minimise(objective, start, -bound.ravel(), bound.ravel(), "Dirichlet map")
        table = found.reshape(k, k + 1)
        return table[:, :k], table[:, k]


class DirichletODIR(_Dirichlet):
    """Penalty lambda / (K (K - 1)) * sum of W_ij^2, i != j, + lambda / K * sum of b_j^2 (ODIR).

    The diagonal of W is free: with a strong penalty each class keeps a temperature of its own.
    """

    method: Literal["dirichlet_odir"] = "dirichlet_odir"
    penalises_diagonal: ClassVar[bool] = False


class DirichletL2(_Dirichlet):
    """Penalty lambda / K^2 * sum of all W_ij^2 + lambda / K * sum of b_j^2.

    With a strong penalty all probabilities go to 1 / K.
    """

    method: Literal["dirichlet_l2"] = "dirichlet_l2"
    penalises_diagonal: ClassVar[bool] = True
