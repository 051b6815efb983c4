"""Is one model better than another? A one-sided bound of the gain, from resampled groups.

The gain is the difference of a figure, turned so that more is better. Whole groups are drawn with
replacement, both models are judged on each draw, and the bound is an order statistic of the drawn
gains. Percentiles of a bootstrap are too narrow for few groups, like a normal interval whose
variance was divided by G instead of G - 1; the tail is therefore taken at
``Phi(-sqrt(G / (G - 1)) t(1 - level, G - 1))`` instead of ``level`` ("expanded percentiles";
Hesterberg, "What Teachers Should Know About the Bootstrap", The American Statistician 69, 2015,
section 5.3). The level then holds approximately; :mod:`roadwork.promotion.exchange` is the exact
side.
"""

from __future__ import annotations

import math

import numpy as np

from roadwork.calibration.base import FloatArray
from roadwork.errors import DataError
from roadwork.evaluation.bootstrap import RESAMPLES, resampled
from roadwork.evaluation.metrics import MetricInfo, metric_infos
from roadwork.evaluation.scored import ScoredSet
from roadwork.evidence import Comparison

__all__ = ["MOST_RESAMPLES", "compare_figure", "expanded_tail", "lower_bound", "resamples_for"]

MOST_RESAMPLES = 100_000
"""No more are drawn, however small the level is."""

_IN_TAIL = 20


def expanded_tail(level: float, n_groups: int) -> float:
    """Share of resampled gains below the one-sided bound of a level, for at least two groups."""
    from scipy.special import ndtr, stdtrit

    return float(ndtr(math.sqrt(n_groups / (n_groups - 1)) * stdtrit(n_groups - 1, level)))


def resamples_for(tail: float) -> int:
    """Resamples that put twenty gains into the tail, within 2,000 and 100,000."""
    # Compared before it is divided: the tail may be so thin that the quotient is infinite.
    if tail * MOST_RESAMPLES <= _IN_TAIL:
        return MOST_RESAMPLES
    return max(RESAMPLES, math.ceil(_IN_TAIL / tail))


def lower_bound(gains: FloatArray, tail: float) -> float | None:
    """The ``floor(tail (B + 1))``-th smallest of resampled gains (B,), or None when that is 0.

    With this rank, "the bound is above 0" is the same as ``(1 + #{gains <= 0}) / (1 + B) <= tail``.
    A draw in which the figure is undefined (NaN) counts as the largest loss; None as well when
    these fill the tail.
    """
    rank = math.floor(tail * (len(gains) + 1))
    if rank < 1:
        return None
    ordered = np.sort(np.where(np.isnan(gains), -np.inf, gains))
    low = float(ordered[rank - 1])
    return low if math.isfinite(low) else None


def compare_figure(
    figure: str,
    candidate: ScoredSet,
    champion: ScoredSet,
    *,
    level: float,
    margin: float = 0.0,
    seed: int = 0,
) -> Comparison:
    """Gain of the candidate over the champion in one figure, with its one-sided lower bound.

    Args:
        figure: name in ``METRICS`` of one with a better direction, that needs no prediction sets.
        candidate: its answers.
        champion: answers to the same rows.
        level: at most this share of bounds lies above the true gain.
        margin: loss that is tolerated; kept with the result.
        seed: of the resampling.

    Raises:
        ConfigError: an unknown figure.
        DataError: the two were not judged on the same rows.
    """
    (info,) = metric_infos([figure])
    same = candidate.n == champion.n and (candidate.labels == champion.labels).all()
    if not same or not (candidate.group_codes == champion.group_codes).all():
        raise DataError("the two models were not judged on the same rows: labels or groups differ.")
    ours, theirs = info.compute(candidate), info.compute(champion)
    groups = candidate.n_groups
    gain = low = reason = None
    resamples = 0
    if ours.value is None or theirs.value is None:
        reason = ours.reason if ours.value is None else theirs.reason
    else:
        gain = _sign(info) * (ours.value - theirs.value)
        if groups < 2:
            reason = "a single group cannot be resampled"
        else:
            tail = expanded_tail(level, groups)
            resamples = resamples_for(tail)
            low = lower_bound(_gains(info, candidate, champion, resamples, seed), tail)
            if low is None:
                reason = (
                    f"{groups} groups cannot show a gain at the level {level:.2g}: it needs a test "
                    "set with more groups, or one that was opened less often"
                )
    return Comparison(
        figure=figure,
        candidate=ours.value,
        champion=theirs.value,
        gain=gain,
        low=low,
        level=level,
        margin=margin,
        n_groups=groups,
        resamples=resamples,
        reason=reason,
    )


def _gains(
    info: MetricInfo, candidate: ScoredSet, champion: ScoredSet, resamples: int, seed: int
) -> FloatArray:
    drawn = [
        info.batch(candidate, weights) - info.batch(champion, weights)
        for weights in resampled(candidate, resamples, seed)
    ]
    return _sign(info) * np.concatenate(drawn)


def _sign(info: MetricInfo) -> float:
    return 1.0 if info.higher_is_better else -1.0
