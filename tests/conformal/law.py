"""Checks of hits against the exact law of coverage, each with a known rate of false alarms."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import betabinom, binom, kstest

LEVEL = 1e-4


def follows(hits: ArrayLike, m: ArrayLike, n: int, rank: int) -> bool:
    """Whether hits (R,) among m (R,) new points follow BetaBinomial(m, rank, n + 1 - rank).

    Kolmogorov and Smirnov on the randomised probability transform, which is exactly uniform for a
    discrete law, and the mean of that transform, which sees a shift sooner.
    """
    counts, sizes = np.asarray(hits), np.asarray(m)
    law = betabinom(sizes, rank, n + 1 - rank)
    u = np.random.default_rng(0).random(len(counts))
    transform = (1 - u) * law.cdf(counts - 1) + u * law.cdf(counts)
    z = (transform.mean() - 0.5) / np.sqrt(1 / 12 / len(counts))
    return bool(kstest(transform, "uniform").pvalue > LEVEL and abs(z) < 4)


def keeps(violations: int, draws: int, delta: float) -> bool:
    """Whether so many violations can be when each has probability ``delta`` at most."""
    return bool(binom.sf(violations - 1, draws, delta) > LEVEL)


def at_least(shares: ArrayLike, target: float) -> bool:
    """Whether the mean of independent shares (R,) can be ``target`` or more: four errors of it."""
    values = np.asarray(shares, dtype=np.float64)
    return bool(values.mean() > target - 4 * values.std() / np.sqrt(len(values)))
