"""Exact interval of a proportion, and how much groups of like outcomes take from it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from roadwork.errors import ConfigError, DataError

__all__ = ["clopper_pearson", "design_effect"]


def clopper_pearson(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Two-sided exact interval of a binomial proportion (Clopper, Pearson, Biometrika 1934).

    It covers the true proportion with probability at least ``level`` when the n outcomes are
    independent. Without outcomes it is (0, 1).

    Raises:
        DataError: successes not in 0..n.
        ConfigError: level not strictly between 0 and 1.
    """
    from scipy.special import betaincinv

    if not 0 <= successes <= n:
        raise DataError(f"{successes} successes of {n} outcomes cannot be.")
    if not 0.0 < level < 1.0:
        raise ConfigError(f"level must lie strictly between 0 and 1, not {level!r}.")
    tail = (1.0 - level) / 2
    low = betaincinv(successes, n - successes + 1, tail) if successes > 0 else 0.0
    high = betaincinv(successes + 1, n - successes, 1.0 - tail) if successes < n else 1.0
    return float(low), float(high)


def design_effect(hits: ArrayLike, groups: ArrayLike) -> float:
    """How many outcomes count as one, because outcomes of a group resemble each other.

    The ratio of the variance of a proportion over whole groups to that over independent outcomes,
    ``G / (G - 1) * sum_g (h_g - p n_g)^2 / (n p (1 - p))``, at least 1 (Kish, "Survey Sampling",
    1965, for clusters of unequal size by linearisation). It is 1 where nothing varies, or where
    there are fewer than two groups.

    Args:
        hits: (N,) outcomes, 0 or 1.
        groups: (N,) group of every outcome.
    """
    outcomes = np.asarray(hits, dtype=np.float64)
    names, codes = np.unique(np.asarray(groups), return_inverse=True)
    share = float(outcomes.mean()) if len(outcomes) else 0.0
    if len(names) < 2 or share in (0.0, 1.0):
        return 1.0
    residuals = np.bincount(codes, weights=outcomes - share)
    between = len(names) / (len(names) - 1) * float((residuals**2).sum())
    return max(1.0, between / (len(outcomes) * share * (1.0 - share)))
