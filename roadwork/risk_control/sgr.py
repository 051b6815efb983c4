"""SGR: selection with guaranteed risk, for comparison with Learn then Test.

Geifman, El-Yaniv, "Selective Classification for Deep Neural Networks", NeurIPS 2017, arXiv
1705.08500, algorithm 1: a binary search over the confidences of the points, each step with Clopper
and Pearson's upper bound of the error among the accepted, at delta over the number of steps. Errors
are counted as whole numbers, and where no step is certified there is no threshold (the authors'
code goes on with the last one tried).

The bound is for independent points: with groups, one image of each.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from roadwork.calibration.base import check_labels, check_probabilities
from roadwork.errors import ConfigError, DataError
from roadwork.risk_control.defer import DeferPromise, DeferThreshold, groups_needed

__all__ = ["fit_sgr", "upper_bound"]


def upper_bound(errors: int, n: int, delta: float) -> float:
    """The largest risk under which so few errors, or fewer, have probability ``delta``; 1 at n = 0.

    Args:
        errors: among n independent points.
        n: points.
        delta: in (0, 1).
    """
    from scipy.special import betaincinv

    return 1.0 if errors >= n else float(betaincinv(errors + 1, n - errors, 1.0 - delta))


def fit_sgr(
    probabilities: ArrayLike,
    labels: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    promise: DeferPromise,
) -> DeferThreshold:
    """The loosest threshold that the binary search certifies.

    Args:
        probabilities: (N, K) calibrated probabilities, of images that neither the network nor the
            calibrator was fitted on.
        labels: (N,) true classes.
        groups: (N,) group of every image; all different.
        promise: what errors may cost; SGR bounds the error alone.

    Raises:
        DataError: the arrays break the contract, or a group has two images.
        ConfigError: the promise bounds missed roadwork.
    """
    table = check_probabilities(probabilities)
    truth = check_labels(labels, *table.shape)
    if promise.max_missed is not None:
        raise ConfigError("SGR bounds the error alone: leave max_missed out, or learn then test.")
    n = len(truth)
    if groups is not None and len(np.unique(np.asarray(groups))) < n:
        raise DataError("SGR is for independent images: pass one image of each group.")
    confidence = table.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    falling = confidence[order]
    errors = np.cumsum(table.argmax(axis=1)[order] != truth[order])
    steps = max(1, math.ceil(math.log2(n)))
    low, high, best = 0, n, 0  # accepted points: certified up to low, refused from high on
    for _ in range(steps):
        middle = (low + high + 1) // 2
        # Tied confidences are accepted together.
        accepted = int(np.searchsorted(-falling, -falling[middle - 1], side="right"))
        if upper_bound(int(errors[accepted - 1]), accepted, promise.delta / steps) <= (
            promise.max_error
        ):
            low, best = middle, max(best, accepted)
        else:
            high = middle
    rates = errors / np.arange(1, n + 1)
    calm = n // 2 + int(np.argmin(rates[n // 2 :]))  # rates of fewer points say too little
    votes = groups_needed(float(rates[calm]), promise.max_error, promise.delta / steps)
    return DeferThreshold(
        method="sgr",
        threshold=float(falling[best - 1]) if best else None,
        promise=promise,
        n=n,
        groups=n,
        accepted=best / n,
        votes=best,
        needed=None if best or votes is None else math.ceil(votes * n / (calm + 1)),
    )
