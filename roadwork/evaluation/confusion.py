"""Metrics of the confusion matrix: accuracy, balanced accuracy, precision, recall, F1, MCC.

Every function takes a scored set and row weights (B, N) and returns (B,), NaN where undefined.
Precision, recall and F1 are those of class 1 when K is 2, and the mean over classes otherwise.
"""

from __future__ import annotations

import numpy as np

from roadwork.calibration.base import FloatArray
from roadwork.evaluation.resamples import Weights, binned, once
from roadwork.evaluation.scored import ScoredSet, one_vs_rest, ratio

__all__ = [
    "accuracy",
    "balanced_accuracy",
    "confusion",
    "f1",
    "matthews_correlation",
    "precision",
    "recall",
]


def confusion(scored: ScoredSet, weights: Weights) -> FloatArray:
    """Weighted confusion matrices (B, K, K), indexed [true class, predicted class]."""
    k = scored.n_classes
    return once(
        weights,
        (scored, "confusion"),
        lambda: binned(weights, scored.confusion_index, k * k).reshape(-1, k, k),
    )


def accuracy(scored: ScoredSet, weights: Weights) -> FloatArray:
    """Share of rows whose most probable class is the true one."""
    return ratio(weights @ scored.correct.astype(np.float64), weights.sum(axis=1))


def balanced_accuracy(scored: ScoredSet, weights: Weights) -> FloatArray:
    """Mean over all K classes of the recall; undefined when a class is absent."""
    table = confusion(scored, weights)
    return ratio(np.diagonal(table, axis1=1, axis2=2), table.sum(axis=2)).mean(axis=1)


def precision(scored: ScoredSet, weights: Weights) -> FloatArray:
    """TP / (TP + FP); undefined when nothing is predicted positive."""
    table = confusion(scored, weights)
    return one_vs_rest(
        [ratio(table[:, k, k], table[:, :, k].sum(axis=1)) for k in scored.positive_classes]
    )


def recall(scored: ScoredSet, weights: Weights) -> FloatArray:
    """TP / (TP + FN); undefined when there are no positives."""
    table = confusion(scored, weights)
    return one_vs_rest(
        [ratio(table[:, k, k], table[:, k, :].sum(axis=1)) for k in scored.positive_classes]
    )


def f1(scored: ScoredSet, weights: Weights) -> FloatArray:
    """2 TP / (2 TP + FP + FN); undefined when nothing is positive, in truth or in prediction."""
    table = confusion(scored, weights)
    return one_vs_rest(
        [
            ratio(2 * table[:, k, k], table[:, :, k].sum(axis=1) + table[:, k, :].sum(axis=1))
            for k in scored.positive_classes
        ]
    )


def matthews_correlation(scored: ScoredSet, weights: Weights) -> FloatArray:
    """Matthews correlation, in Gorodkin's K-class form (Comput. Biol. Chem. 28, 2004).

    Undefined when only one class is present or only one is ever predicted.
    """
    table = confusion(scored, weights)
    total = table.sum(axis=(1, 2))
    truth, predicted = table.sum(axis=2), table.sum(axis=1)
    hits = np.trace(table, axis1=1, axis2=2)
    covariance = hits * total - (truth * predicted).sum(axis=1)
    spread = (total**2 - (predicted**2).sum(axis=1)) * (total**2 - (truth**2).sum(axis=1))
    return ratio(covariance, np.sqrt(np.maximum(spread, 0.0)))
