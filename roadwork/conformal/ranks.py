"""Ranks, thresholds and exact tolerances of split conformal prediction.

With n exchangeable calibration scores and one new score, the new one is at most the k-th smallest
of the n with probability at least k / (n + 1) (Vovk, Gammerman, Shafer, "Algorithmic Learning in a
Random World", 2005; Lei et al., JASA 2018). Coverage 1 - alpha therefore asks for
k = ceil((n + 1) (1 - alpha)).
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
    "minimum_points",
    "shortfall_probability",
]


def _exact(alpha: float) -> Fraction:
    """``alpha`` as the decimal number that was written, not as the nearest binary one."""
    try:
        value = Fraction(str(alpha))
    except ValueError:
        value = Fraction(0)
    if not 0 < value < 1:
        raise ConfigError(
            f"alpha must lie strictly between 0 and 1 (0.1 asks for 90 % coverage), not {alpha!r}."
        )
    return value


def conformal_rank(n: int, alpha: float) -> int | None:
    """Rank k = ceil((n + 1) (1 - alpha)), counted from 1, or None when it exceeds n.

    The arithmetic is rational, because in floats ``ceil((n + 1) * (1 - alpha))`` is one too high
    for some pairs, such as n = 24 with alpha = 0.44.

    Raises:
        ConfigError: alpha is not strictly between 0 and 1.
        DataError: n is negative.
    """
    if n < 0:
        raise DataError(f"a number of calibration points cannot be negative: {n}.")
    rank = math.ceil((n + 1) * (1 - _exact(alpha)))
    return rank if rank <= n else None


def minimum_points(alpha: float) -> int:
    """Fewest calibration points with a finite threshold: ceil(1 / alpha) - 1."""
    return math.ceil(1 / _exact(alpha)) - 1


def conformal_threshold(scores: FloatArray, alpha: float) -> tuple[float | None, int | None]:
    """Threshold and rank for calibration scores (n,); (None, None) when n is too small.

    The threshold is one of the scores, found by sorting and indexing: quantile functions
    interpolate or round by rules of their own and miss the rank.
    """
    rank = conformal_rank(len(scores), alpha)
    if rank is None:
        return None, None
    return float(np.sort(scores)[rank - 1]), rank


def coverage_band(n: int, m: int, alpha: float, delta: float) -> tuple[int, int]:
    """Lowest and highest number of hits to expect on m fresh points, exactly.

    For n calibration points and continuous, independent, identically distributed scores the
    coverage given the calibration set is Beta(k, n + 1 - k), and the hits among m points are
    BetaBinomial(m, k, n + 1 - k). The band [low, high] leaves out at most delta / 2 on each side.
    With tied scores coverage is stochastically larger, so that only ``low`` remains valid.
    When n is too small for a finite threshold every point is a hit, and the band is (m, m).

    Raises:
        ConfigError: alpha or delta is not strictly between 0 and 1.
        DataError: n or m is negative.
    """
    from scipy.special import betaln, gammaln

    if not 0.0 < delta < 1.0:
        raise ConfigError(f"delta must lie strictly between 0 and 1, not {delta!r}.")
    if m < 0:
        raise DataError(f"a number of test points cannot be negative: {m}.")
    rank = conformal_rank(n, alpha)
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
