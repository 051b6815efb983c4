"""Areas under the risk-coverage curves: AURC, E-AURC, AUGRC.

Rows are accepted from the most confident on; rows of equal confidence are accepted together. At
coverage c (the accepted share) the selective risk is errors / accepted, and the generalised risk
is errors accepted / all. Every metric takes a scored set and row weights (B, N) and gives (B,).
"""

from __future__ import annotations

import numpy as np

from roadwork.calibration.base import FloatArray
from roadwork.evaluation.scored import ScoredSet, ratio

__all__ = ["augrc", "aurc", "excess_aurc", "risk_coverage"]


def risk_coverage(
    scored: ScoredSet, weights: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Coverage, selective risk and generalised risk at each distinct confidence, all (B, U).

    A resample may lack the most confident rows; the selective risk before its first accepted row
    is that of this row.
    """
    ranking = scored.confidence_ranking
    accepted = np.cumsum(ranking.tally(weights), axis=1)
    errors = np.cumsum(ranking.tally(weights * ~scored.correct), axis=1)
    total = accepted[:, -1:]
    selective = ratio(errors, accepted)
    first = np.argmax(accepted > 0, axis=1)[:, None]
    selective = np.where(accepted > 0, selective, np.take_along_axis(selective, first, axis=1))
    return ratio(accepted, total), selective, ratio(errors, total)


def aurc(scored: ScoredSet, weights: FloatArray) -> FloatArray:
    """Area under the selective risk (Geifman, Uziel, El-Yaniv, arXiv 1805.08206).

    The trapezoid over coverage, with the risk at coverage 0 set to that of the first point, as in
    the fd-shifts benchmark (Jaeger et al., arXiv 2211.15259; not multiplied by 1000).
    """
    coverage, selective, _ = risk_coverage(scored, weights)
    return _trapezoid(coverage, selective, selective[:, :1])


def excess_aurc(scored: ScoredSet, weights: FloatArray) -> FloatArray:
    """AURC less e + (1 - e) ln(1 - e), the area of a perfect ranking at error rate e.

    Geifman et al., arXiv 1805.08206. The optimum is that of large n: with few rows or with ties
    the excess can be slightly below 0.
    """
    coverage, selective, generalised = risk_coverage(scored, weights)
    error = generalised[:, -1]
    kept = 1.0 - error
    optimum = error + kept * np.log(np.where(kept > 0, kept, 1.0))
    return _trapezoid(coverage, selective, selective[:, :1]) - optimum


def augrc(scored: ScoredSet, weights: FloatArray) -> FloatArray:
    """Area under the generalised risk (Traub et al., NeurIPS 2024, arXiv 2407.01032), in [0, 1/2].

    Equal to (1 - A) e (1 - e) + e^2 / 2, with e the error rate and A the AUROC of the confidence
    for being correct; e^2 / 2 is the best and e / 2 that of a constant confidence.
    """
    coverage, _, generalised = risk_coverage(scored, weights)
    return _trapezoid(coverage, generalised, np.zeros((len(weights), 1)))


def _trapezoid(x: FloatArray, y: FloatArray, start: FloatArray) -> FloatArray:
    """Trapezoid rule from the point (0, start) on; rows with NaN stay NaN."""
    widths = np.diff(x, axis=1, prepend=0.0)
    return (widths * (y + np.concatenate([start, y[:, :-1]], axis=1)) / 2).sum(axis=1)
