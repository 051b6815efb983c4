"""Levels of confidence to test, taken from other data than the test is made on."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roadwork import POSITIVE
from roadwork.calibration.base import FloatArray, check_labels, check_probabilities
from roadwork.errors import ConfigError
from roadwork.risk_control.defer import DeferPromise

__all__ = ["levels_from"]


def levels_from(
    probabilities: ArrayLike,
    labels: ArrayLike,
    groups: int,
    promise: DeferPromise,
    count: int = 100,
) -> FloatArray:
    """Levels of confidence (J,), J <= count, that are even steps in the share accepted elsewhere.

    The way ends at its first failure, so that it must not begin where too few are accepted to
    certify anything, nor where errors are frequent. The strictest level is the one whose test can
    be expected to be clearest, judging by the errors of the other set (with one right and one wrong
    answer added, so that few answers do not pass for perfect): where Hoeffding's exponent, votes
    times the divergence of error and bound, is largest.

    Args:
        probabilities: (M, K) calibrated probabilities of another set, such as the calibration set.
        labels: (M,) its classes.
        groups: number of groups that a threshold will be fitted on.
        promise: says what errors may cost.
        count: levels, at least 1.

    Raises:
        DataError: the arrays break the contract.
        ConfigError: count is less than 1.
    """
    table = check_probabilities(probabilities)
    truth = check_labels(labels, *table.shape)
    if count < 1:
        raise ConfigError(f"count must be at least 1, not {count}.")
    order = np.argsort(-table.max(axis=1), kind="stable")
    falling = table.max(axis=1)[order]
    wrong, roadwork = (table.argmax(axis=1) != truth)[order], (truth == POSITIVE)[order]
    everyone = np.ones(len(truth), dtype=np.bool_)
    clear = _clearness(everyone, wrong, promise.max_error)
    if promise.max_missed is not None:
        clear = np.minimum(clear, _clearness(roadwork, wrong, promise.max_missed))
    # Where nothing is clear, all that can be tried is to accept everything.
    start = int(np.argmax(clear)) if clear.max() > 0 else len(falling) - 1
    steps = np.linspace(start, len(falling) - 1, count).round().astype(np.int64)
    return np.unique(falling[steps])[::-1]


def _clearness(counted: NDArray[np.bool_], wrong: NDArray[np.bool_], bound: float) -> FloatArray:
    """Hoeffding's exponent (M,) per row of accepting the first 1 .. M rows, of which some count."""
    from scipy.special import rel_entr

    votes = np.cumsum(counted)
    rate = np.minimum((np.cumsum(counted & wrong) + 1) / (votes + 2), bound)
    return votes / len(votes) * (rel_entr(rate, bound) + rel_entr(1 - rate, 1 - bound))
