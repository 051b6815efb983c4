"""Ranks, thresholds and exact tolerances of split conformal prediction.

With n exchangeable calibration scores and one new score, the new one is at most the k-th smallest
of the n with probability at least k / (n + 1) (Vovk, Gammerman, Shafer, "Algorithmic Learning in a
Random World", 2005; Lei et al., JASA 2018). Coverage 1 - alpha therefore asks for
k = ceil((n + 1) (1 - alpha)).

That promise is an average over calibration sets. The stronger one, "probably approximately
correct", is made of the one set at hand: for independent points the coverage given the set is
Beta(k, n + 1 - k) for untied scores and larger for tied ones, so that a rank k with
P(Beta(k, n + 1 - k) < 1 - alpha) <= delta covers 1 - alpha with confidence 1 - delta (Vovk, ACML
2012, proposition 2a).
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from roadwork.calibration.base import FloatArray
from roadwork.errors import ConfigError, DataError

__all__ = [
    "conformal_rank",
    "conformal_threshold",
    "coverage_band",
    "exact_share",
    "hits_band",
    "minimum_points",
    "order_statistic",
    "required_rank",
    "shortfall_probability",
]


def exact_share(alpha: float | Fraction) -> Fraction:
    """``alpha`` as the decimal number that was written, not as the nearest binary one.

    Raises:
        ConfigError: it is not strictly between 0 and 1.
    """
    try:
        value = alpha if isinstance(alpha, Fraction) else Fraction(str(alpha))
    except ValueError:
        value = Fraction(0)
    if not 0 < value < 1:
        raise ConfigError(
            f"alpha must lie strictly between 0 and 1 (0.1 asks for 90 % coverage), not {alpha!r}."
        )
    return value


def conformal_rank(n: int, alpha: float | Fraction) -> int | None:
    """Rank k = ceil((n + 1) (1 - alpha)), counted from 1, or None when it exceeds n.

    The arithmetic is rational, because in floats ``ceil((n + 1) * (1 - alpha))`` is one too high
    for some pairs, such as n = 24 with alpha = 0.44.

    Raises:
        ConfigError: alpha is not strictly between 0 and 1.
        DataError: n is negative.
    """
    if n < 0:
        raise DataError(f"a number of calibration points cannot be negative: {n}.")
    rank = math.ceil((n + 1) * (1 - exact_share(alpha)))
    return rank if rank <= n else None


def required_rank(n: int, alpha: float | Fraction, delta: float | None = None) -> int | None:
    """The rank of the average promise; with ``delta``, the least that is also promised of one set.

    The tail of the Beta law is that of a binomial one: P(Beta(k, n + 1 - k) < 1 - alpha) =
    P(Binomial(n, 1 - alpha) >= k).

    Args:
        n: calibration points; with ``delta`` they must be independent, not only exchangeable.
        alpha: allowed share of misses.
        delta: allowed probability that the one set covers less; None promises the average alone.

    Returns:
        The rank, counted from 1, or None where it exceeds n.

    Raises:
        ConfigError: alpha or delta is not strictly between 0 and 1.
        DataError: n is negative.
    """
    rank = conformal_rank(n, alpha)
    if delta is None or rank is None:
        return rank
    from scipy.stats import binom

    share = 1.0 - float(exact_share(alpha))
    sure = int(binom.isf(float(exact_share(delta)), n, share)) + 1
    return max(rank, sure) if sure <= n else None


def minimum_points(alpha: float | Fraction, delta: float | None = None) -> int:
    """Fewest calibration points with a finite threshold.

    On average ceil(1 / alpha) - 1; with ``delta`` the least n with (1 - alpha)^n <= delta as well.
    """
    share = exact_share(alpha)
    least = math.ceil(1 / share) - 1
    if delta is None:
        return least
    n = max(least, math.floor(math.log(exact_share(delta)) / math.log1p(-float(share))))
    while required_rank(n, share, delta) is None:
        n += 1
    return n


def order_statistic(scores: FloatArray, rank: int | None) -> float | None:
    """The ``rank``-th smallest of scores (n,), counted from 1; None for None.

    It is one of the scores, found by sorting and indexing: quantile functions interpolate or round
    by rules of their own and miss the rank.
    """
    return None if rank is None else float(np.sort(scores)[rank - 1])


def conformal_threshold(
    scores: FloatArray, alpha: float | Fraction, delta: float | None = None
) -> tuple[float | None, int | None]:
    """Threshold and rank for calibration scores (n,); (None, None) when n is too small."""
    rank = required_rank(len(scores), alpha, delta)
    return order_statistic(scores, rank), rank


def coverage_band(n: int, m: int, alpha: float, delta: float) -> tuple[int, int]:
    """:func:`hits_band` for the rank of the average promise, :func:`conformal_rank`.

    Raises:
        ConfigError: alpha or delta is not strictly between 0 and 1.
        DataError: n or m is negative.
    """
    return hits_band(n, m, conformal_rank(n, alpha), delta)


def hits_band(n: int, m: int, rank: int | None, delta: float) -> tuple[int, int]:
    """Lowest and highest number of hits to expect on m fresh points, exactly.

    For n calibration points and continuous, independent, identically distributed scores the
    coverage given the calibration set is Beta(k, n + 1 - k) for a threshold of rank k, and the hits
    among m points are BetaBinomial(m, k, n + 1 - k). The band [low, high] leaves out at most
    delta / 2 on each side. With tied scores coverage is stochastically larger, so that only ``low``
    remains valid. Without a rank every point is a hit, and the band is (m, m).

    Raises:
        ConfigError: delta is not strictly between 0 and 1.
        DataError: m is negative.
    """
    from scipy.special import betaln, gammaln

    if not 0.0 < delta < 1.0:
        raise ConfigError(f"delta must lie strictly between 0 and 1, not {delta!r}.")
    if m < 0:
        raise DataError(f"a number of test points cannot be negative: {m}.")
    if rank is None:
        return m, m
    hits = np.arange(m + 1)
    log_choose = gammaln(m + 1) - gammaln(hits + 1) - gammaln(m - hits + 1)
    log_mass = (
        log_choose + betaln(hits + rank, m - hits + n + 1 - rank) - betaln(rank, n + 1 - rank)
    )
    mass = np.exp(log_mass)
    # Each tail is summed from its own thin end: 1 - delta / 2 would swallow a small upper tail.
    low = int(np.searchsorted(np.cumsum(mass), delta / 2))
    above = int(np.searchsorted(np.cumsum(mass[::-1]), delta / 2, side="right"))
    return low, m - above


def shortfall_probability(
    covered: int, m: int, n: int, rank: int | None, design_effect: float = 1.0
) -> float:
    """Probability of so few hits, or fewer, from a conformal predictor that keeps its promise.

    Given its points, the coverage of split conformal prediction is itself random: it follows
    Beta(rank, n + 1 - rank) for exchangeable, untied scores (Vovk, ACML 2012), and the hits among
    m new images follow the Beta-Binomial distribution with these parameters. A plain binomial at
    the target would refuse sound predictors that have few conformal points; it is the limit for
    many points. A label that is in every set is always covered: the value is 1, or 0 if it
    nevertheless was not.

    That law is for independent images, and images of one drive are not. Both numbers of images are
    therefore divided by the design effect of the test set (see
    :func:`roadwork.evaluation.intervals.design_effect`): an approximation, which supposes that the
    conformal images resemble each other as much as the test images do.

    Args:
        covered: hits among the m test images.
        m: test images, at least 1.
        n: conformal points.
        rank: of the threshold among them; None for a label that is in every set.
        design_effect: how many images count as one.
    """
    from scipy.stats import betabinom

    if rank is None:
        return 1.0 if covered == m else 0.0
    images = max(1, round(m / design_effect))
    hits = round(covered / m * images)
    a, b = rank / design_effect, (n + 1 - rank) / design_effect
    return float(betabinom.cdf(hits, images, a, b))
