"""Exact tests of two samples of independent things, from tails of discrete distributions."""

from __future__ import annotations

import numpy as np

__all__ = ["beyond_order_statistics", "fisher_tails"]


def beyond_order_statistics(inside: float, outside: float, n: int, at_least: int) -> float:
    """Chance that at least ``at_least`` of ``n`` new values fall outside a range of old ones.

    The ends of the range are order statistics of m old values. When old and new values are
    independent draws of one continuous distribution, whatever its form, the mass that the range
    leaves outside is Beta(outside, inside) distributed, where ``outside`` of the m + 1 gaps
    between old values lie outside; the number of new values there is beta-binomial (David,
    Nagaraja, "Order Statistics", 3rd ed. 2003, sec. 7.3, on prediction intervals).

    Args:
        inside: gaps within the range; ``inside + outside = m + 1``.
        outside: gaps outside of it.
        n: number of new values.
        at_least: how many of them lie outside.
    """
    from scipy.special import betaln

    if at_least <= 0:
        return 1.0
    if at_least > n:
        return 0.0
    k = np.arange(at_least, n + 1, dtype=np.float64)
    logs = _log_choose(n, k) + betaln(k + outside, n - k + inside) - betaln(outside, inside)
    return float(min(1.0, np.exp(logs).sum()))


def fisher_tails(hits: int, n: int, other_hits: int, other_n: int) -> tuple[float, float]:
    """Tails of Fisher's exact test that two shares are equal (Fisher 1935).

    Returns:
        P(at least ``hits``) and P(at most ``hits``) of the first sample, given both sums.
    """
    total = hits + other_hits
    low, high = max(0, total - other_n), min(n, total)
    k = np.arange(low, high + 1, dtype=np.float64)
    logs = _log_choose(n, k) + _log_choose(other_n, total - k)
    logs -= _log_choose(n + other_n, np.array(float(total)))
    chances = np.exp(logs)
    return (
        float(min(1.0, chances[k >= hits].sum())),
        float(min(1.0, chances[k <= hits].sum())),
    )


def _log_choose(n: int, k: np.ndarray) -> np.ndarray:
    from scipy.special import gammaln

    return gammaln(n + 1.0) - gammaln(k + 1.0) - gammaln(n - k + 1.0)
