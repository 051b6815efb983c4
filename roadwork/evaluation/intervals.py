"""Exact interval of a proportion."""

from __future__ import annotations

from roadwork.errors import ConfigError, DataError

__all__ = ["clopper_pearson"]


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
