"""Areas under the risk-coverage curves: AURC, E-AURC, AUGRC; and the risk at one coverage.

Rows are accepted from the most confident on; rows of equal confidence are accepted together. At
coverage c (the accepted share) the selective risk is errors / accepted, and the generalised risk
is errors accepted / all. Every metric takes a scored set and row weights (B, N) and gives (B,).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from roadwork.calibration.base import FloatArray
from roadwork.evaluation.resamples import Weights
from roadwork.evaluation.scored import ScoredSet, ratio
from roadwork.evaluation.sorted_pass import SortedPass, by_confidence, confidence_pass

__all__ = ["augrc", "aurc", "excess_aurc", "risk_at", "risk_coverage"]

# Shares are quotients of sums, which may differ from a bound in the last digit alone.
_SLACK = 1e-12


def risk_coverage(scored: ScoredSet, weights: Weights) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Coverage, selective risk and generalised risk at each distinct confidence, all (B, U).

    A resample may lack the most confident rows; the selective risk before its first accepted row
    is that of this row.
    """
    found = confidence_pass(scored, weights)
    total = found.taken[:, -1:]
    selective = ratio(found.hits, found.taken)
    first = np.argmax(found.taken > 0, axis=1)[:, None]
    selective = np.where(found.taken > 0, selective, np.take_along_axis(selective, first, axis=1))
    return ratio(found.taken, total), selective, ratio(found.hits, total)


def aurc(scored: ScoredSet, weights: Weights) -> FloatArray:
    """Area under the selective risk (Geifman, Uziel, El-Yaniv, arXiv 1805.08206).

    The trapezoid over coverage, with the risk at coverage 0 set to that of the first point, as in
    the fd-shifts benchmark (Jaeger et al., arXiv 2211.15259; not multiplied by 1000).
    """
    return by_confidence(scored, weights, _aurc)


def excess_aurc(scored: ScoredSet, weights: Weights) -> FloatArray:
    """AURC less e + (1 - e) ln(1 - e), the area of a perfect ranking at error rate e.

    Geifman et al., arXiv 1805.08206. The optimum is that of large n: with few rows or with ties
    the excess can be slightly below 0.
    """
    return by_confidence(scored, weights, _excess)


def augrc(scored: ScoredSet, weights: Weights) -> FloatArray:
    """Area under the generalised risk (Traub et al., NeurIPS 2024, arXiv 2407.01032), in [0, 1/2].

    Equal to (1 - A) e (1 - e) + e^2 / 2, with e the error rate and A the AUROC of the confidence
    for being correct; e^2 / 2 is the best and e / 2 that of a constant confidence.
    """
    return by_confidence(scored, weights, _augrc)


def risk_at(coverage: float) -> Callable[[ScoredSet, Weights], FloatArray]:
    """The metric that is the error rate among the most confident rows of this share.

    With ties more than the share is accepted: all rows at least as confident as the last of them.
    """

    def risk_at_coverage(scored: ScoredSet, weights: Weights) -> FloatArray:
        return by_confidence(scored, weights, lambda found: _risk_at(found, coverage))

    return risk_at_coverage


def _aurc(found: SortedPass) -> FloatArray:
    selective = found.hits / np.where(found.taken > 0, found.taken, 1.0)
    rows = np.arange(len(selective))
    first = np.argmax(found.taken > 0, axis=1)
    # Before the first accepted row the risk is 0 here and should be that row's own.
    area = (
        np.einsum("bu,bu->b", found.here, selective)
        + np.einsum("bu,bu->b", found.here[:, 1:], selective[:, :-1])
        + found.here[rows, first] * selective[rows, first]
    )
    return ratio(area, 2.0 * found.taken[:, -1])


def _excess(found: SortedPass) -> FloatArray:
    error = ratio(found.hits[:, -1], found.taken[:, -1])
    kept = 1.0 - error
    return _aurc(found) - (error + kept * np.log(np.where(kept > 0, kept, 1.0)))


def _augrc(found: SortedPass) -> FloatArray:
    area = np.einsum("bu,bu->b", found.here, found.hits)
    area -= np.einsum("bu,bu->b", found.here, found.hits_here) / 2
    return ratio(area, found.taken[:, -1] ** 2)


def _risk_at(found: SortedPass, coverage: float) -> FloatArray:
    wanted = coverage * (1.0 - _SLACK) * found.taken[:, -1]
    pairs = zip(found.taken, wanted, strict=True)
    last = np.array([np.searchsorted(taken, least) for taken, least in pairs], dtype=np.int64)
    rows = np.arange(len(last))
    return ratio(found.hits[rows, last], found.taken[rows, last])
