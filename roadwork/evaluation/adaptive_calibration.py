"""Calibration error without bins of equal width: equal-mass, debiased, and smooth.

All three compare P(y = 1) with the outcome (with K > 2, the mean over classes), and each answers a
fault of the usual error: bins that are nearly empty, a bias upwards in small samples, and jumps
when a score crosses an edge. Every metric takes a scored set and row weights (B, N) and returns
(B,), NaN where undefined.
"""

from __future__ import annotations

import numpy as np

from roadwork.calibration.base import FloatArray
from roadwork.evaluation.calibration_error import BINS
from roadwork.evaluation.resamples import Weights
from roadwork.evaluation.scored import ScoredSet, ratio
from roadwork.evaluation.sorted_pass import SortedPass, by_class

__all__ = ["CELLS", "ece_debiased", "ece_equal_mass", "ece_smooth"]

CELLS = 512
"""Cells of [0, 1] that residuals are gathered in before they are smoothed."""

_HALVINGS = 22  # of an interval of length 1: far below what the cells resolve


def ece_equal_mass(scored: ScoredSet, weights: Weights) -> FloatArray:
    """Expected calibration error over 15 bins of equal weight (adaptive: Nixon et al., 1904.01685).

    Rows are put in order of the score; a row belongs to the bin that the middle of its weight falls
    into, and rows of equal scores stay together. It equals the equal-width error where all gaps
    have one sign: then both are |mean score - share of positives|.
    """
    return by_class(scored, weights, _equal_mass)


def ece_debiased(scored: ScoredSet, weights: Weights) -> FloatArray:
    """Root mean squared calibration error, less its bias (Kumar, Liang, Ma, arXiv 1909.10155).

    ``sqrt(max(0, sum_b n_b / N * (gap_b^2 - y_b (1 - y_b) / (n_b - 1))))`` over the bins of
    :func:`ece_equal_mass`, y_b being the share of positives; a bin of a single row adds nothing.
    The correction takes rows as independent: a bootstrap, which repeats rows, brings part of the
    bias back, so that its interval lies too high.
    """
    return by_class(scored, weights, _debiased)


def ece_smooth(scored: ScoredSet, weights: Weights) -> FloatArray:
    """Smooth calibration error, smECE (Błasiok, Nakkiran, arXiv 2309.12236).

    The width s for which the integral over t in [0, 1] of ``|mean_i K_s(t, p_i) (y_i - p_i)|`` is
    s itself, with K a Gaussian reflected at 0 and 1. Residuals are gathered in 512 cells first; the
    reflected Gaussian is the heat kernel of the interval, which a cosine transform diagonalises.
    """
    return by_class(scored, weights, _smooth)


def _equal_mass(found: SortedPass) -> FloatArray:
    _, gaps, _ = _bins(found)
    return ratio(np.abs(gaps).sum(axis=1), found.taken[:, -1])


def _debiased(found: SortedPass) -> FloatArray:
    counts, gaps, hits = _bins(found)
    rows = np.where(counts > 1.0, counts, 2.0)
    share = hits / rows
    terms = rows * ((gaps / rows) ** 2 - share * (1.0 - share) / (rows - 1.0))
    total = np.where(counts > 1.0, terms, 0.0).sum(axis=1)
    return np.sqrt(np.maximum(ratio(total, found.taken[:, -1]), 0.0))


def _bins(found: SortedPass) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Weight, sum of (score - outcome), and weight of positives in each bin, all (B, BINS)."""
    middles = found.taken - found.here / 2
    edges = np.arange(1, BINS) * found.taken[:, -1:] / BINS
    ends = np.full((len(middles), BINS), middles.shape[1], dtype=np.int64)
    for row, (middle, edge) in enumerate(zip(middles, edges, strict=True)):
        ends[row, :-1] = np.searchsorted(middle, edge)
    counts, gaps, hits = (
        found.between(sums, ends) for sums in (found.taken, found.gaps, found.hits)
    )
    return counts, gaps, hits


def _smooth(found: SortedPass) -> FloatArray:
    from scipy.fft import dct, idct

    cells = np.minimum((found.values * CELLS).astype(np.int64), CELLS - 1)
    # Scores fall, so that the last cell comes first; the sign of a residual does not matter.
    ends = len(cells) - np.searchsorted(cells[::-1], np.arange(CELLS)[::-1])
    mass = found.between(found.gaps, np.broadcast_to(ends, (len(found.here), CELLS)))
    mass = ratio(mass, found.taken[:, -1:])
    waves = np.asarray(dct(np.nan_to_num(mass), axis=1))
    decay = -((np.pi * np.arange(CELLS)) ** 2) / 2
    low, high = np.zeros(len(mass)), np.ones(len(mass))
    for _ in range(_HALVINGS):
        width = (low + high) / 2
        smoothed = np.asarray(idct(waves * np.exp(decay * width[:, None] ** 2), axis=1))
        wide = np.abs(smoothed).sum(axis=1) <= width
        low, high = np.where(wide, low, width), np.where(wide, width, high)
    return np.where(np.isnan(mass[:, 0]), np.nan, high)
