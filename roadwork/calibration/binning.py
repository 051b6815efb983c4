"""Equal-width bins of probabilities, and the expected calibration error over them."""

from __future__ import annotations

import numpy as np

from roadwork.calibration.base import FloatArray, IntArray

__all__ = ["BINS", "bin_index", "expected_calibration_error"]

BINS = 15


def bin_index(values: FloatArray, bins: int = BINS) -> IntArray:
    """Bin 0..bins-1 of each value in [0, 1], bins being (low, high] and 0 in the first."""
    edges = np.linspace(0.0, 1.0, bins + 1)
    return np.clip(np.searchsorted(edges, values, side="left") - 1, 0, bins - 1)


def expected_calibration_error(scores: FloatArray, outcomes: np.ndarray) -> float:
    """Mean over rows of the gap between score and outcome in the row's bin.

    Args:
        scores: (N,) in [0, 1].
        outcomes: (N,) of 0 and 1.
    """
    gaps = np.bincount(bin_index(scores), weights=scores - outcomes, minlength=BINS)
    return float(np.abs(gaps).sum() / len(scores))
