"""Calibration error over equal-width bins, and the proper scores: Brier and log-likelihood.

Bins are (low, high] over [0, 1], 15 of them by default; the value 0 belongs to the first. Two
flavours are kept apart by name. "Top-label" compares the confidence of the predicted class with
its accuracy; "positive" compares P(y = 1) with the share of positives (with K > 2, the mean over
classes, known as static calibration error: Nixon et al., arXiv 1904.01685). Both are biased
upwards in small samples: choose models by Brier or log-likelihood.

Every metric takes a scored set and row weights (B, N) and returns (B,), NaN where undefined.
"""

from __future__ import annotations

import numpy as np

from roadwork.calibration.base import FloatArray
from roadwork.calibration.binning import BINS, bin_index
from roadwork.evaluation.resamples import Weights, binned, once
from roadwork.evaluation.scored import ScoredSet, one_vs_rest, ratio

__all__ = [
    "BINS",
    "LIKELIHOOD_FLOOR",
    "bin_index",
    "brier",
    "brier_sum",
    "class_bins",
    "classwise_ece",
    "ece_positive",
    "ece_top_label",
    "mce_positive",
    "mce_top_label",
    "negative_log_likelihood",
]

LIKELIHOOD_FLOOR = 1e-15
"""Probabilities of the true class are raised to this in the log-likelihood, if no logits."""


def ece_top_label(scored: ScoredSet, weights: Weights) -> FloatArray:
    """Expected calibration error of the confidence (Guo et al., arXiv 1706.04599)."""
    counts, gaps = _top_label_bins(scored, weights)
    return _expected(counts, gaps)


def mce_top_label(scored: ScoredSet, weights: Weights) -> FloatArray:
    """Largest calibration gap of the confidence over bins that are not empty."""
    counts, gaps = _top_label_bins(scored, weights)
    return _largest(counts, gaps)


def ece_positive(scored: ScoredSet, weights: Weights) -> FloatArray:
    """Expected calibration error of P(y = 1); the mean over classes when K > 2."""
    return one_vs_rest([_class_error(scored, weights, k) for k in scored.positive_classes])


def classwise_ece(scored: ScoredSet, weights: Weights) -> FloatArray:
    """Mean over all K classes of the expected calibration error of P(y = k).

    Also known as static calibration error, SCE (Nixon et al., arXiv 1904.01685). With K = 2 it
    differs from ``ece_positive`` only where a probability lies on the edge of a bin.
    """
    return np.mean([_class_error(scored, weights, k) for k in range(scored.n_classes)], axis=0)


def mce_positive(scored: ScoredSet, weights: Weights) -> FloatArray:
    """Largest calibration gap of P(y = 1) over bins; the mean over classes when K > 2."""
    found = [class_bins(scored, weights, k) for k in scored.positive_classes]
    return one_vs_rest([_largest(counts, scores - hits) for counts, scores, hits in found])


def brier(scored: ScoredSet, weights: Weights) -> FloatArray:
    """Mean of (P(y = 1) - y)^2, in [0, 1]; undefined unless K is 2 (Brier 1950)."""
    if scored.n_classes != 2:
        return np.full(len(weights), np.nan)
    errors = (scored.probabilities[:, 1] - scored.labels) ** 2
    return ratio(weights @ errors, weights.sum(axis=1))


def brier_sum(scored: ScoredSet, weights: Weights) -> FloatArray:
    """Mean of the sum over classes of (p_k - y_k)^2, in [0, 2]: twice ``brier`` when K is 2."""
    truth = np.eye(scored.n_classes)[scored.labels]
    errors = ((scored.probabilities - truth) ** 2).sum(axis=1)
    return ratio(weights @ errors, weights.sum(axis=1))


def negative_log_likelihood(scored: ScoredSet, weights: Weights) -> FloatArray:
    """Mean of -ln p of the true class, in nats.

    From the logits when the set has them. From probabilities otherwise, and then those below
    ``LIKELIHOOD_FLOOR`` are raised to it.
    """
    log_likelihood = scored.log_likelihood
    if scored.logits is None:
        log_likelihood = np.maximum(log_likelihood, np.log(LIKELIHOOD_FLOOR))
    return ratio(weights @ -log_likelihood, weights.sum(axis=1))


def class_bins(
    scored: ScoredSet, weights: Weights, k: int
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Weight, weighted sum of P(y = k), and weight of class k in each bin, all (B, BINS)."""

    def make() -> tuple[FloatArray, FloatArray, FloatArray]:
        scores = scored.probabilities[:, k]
        index = scored.once(("bins", k), lambda: bin_index(scores))
        return (
            binned(weights, index, BINS),
            binned(weights, index, BINS, scores),
            binned(weights, index, BINS, scored.labels == k),
        )

    return once(weights, (scored, "bins", k), make)


def _class_error(scored: ScoredSet, weights: Weights, k: int) -> FloatArray:
    counts, scores, hits = class_bins(scored, weights, k)
    return _expected(counts, scores - hits)


def _top_label_bins(scored: ScoredSet, weights: Weights) -> tuple[FloatArray, FloatArray]:
    """Weight of each bin of the confidence, and weighted sum of (confidence - right) in it."""

    def make() -> tuple[FloatArray, FloatArray]:
        index = scored.once("bins", lambda: bin_index(scored.confidence))
        gaps = scored.confidence - scored.correct
        return binned(weights, index, BINS), binned(weights, index, BINS, gaps)

    return once(weights, (scored, "bins"), make)


def _expected(counts: FloatArray, gaps: FloatArray) -> FloatArray:
    return ratio(np.abs(gaps).sum(axis=1), counts.sum(axis=1))


def _largest(counts: FloatArray, gaps: FloatArray) -> FloatArray:
    means = np.abs(gaps) / np.where(counts > 0, counts, 1.0)
    return np.where(counts.sum(axis=1) > 0, means.max(axis=1), np.nan)
