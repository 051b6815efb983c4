"""Points of the curves that reports draw: reliability diagrams and risk-coverage curves."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict, Field, Strict

from roadwork.errors import DataError
from roadwork.evaluation.calibration_error import BINS, bin_index
from roadwork.evaluation.intervals import clopper_pearson
from roadwork.evaluation.risk_coverage import risk_coverage
from roadwork.evaluation.scored import ScoredSet

__all__ = [
    "ReliabilityBin",
    "RiskCoverageCurve",
    "reliability_bins",
    "reliability_diagram",
    "risk_coverage_curve",
]


class ReliabilityBin(BaseModel):
    """One bin (low, high] of a reliability diagram.

    ``mean_score`` and ``observed`` (the share of outcomes that came true, with its Clopper-Pearson
    interval) are None in an empty bin.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    low: float
    high: float
    n: int = Field(ge=0)
    mean_score: float | None
    observed: float | None
    observed_low: float | None
    observed_high: float | None


class RiskCoverageCurve(BaseModel):
    """Points of the curve, from the most confident rows to all of them."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    coverage: Annotated[tuple[float, ...], Strict(False)]
    confidence: Annotated[tuple[float, ...], Strict(False)]
    selective_risk: Annotated[tuple[float, ...], Strict(False)]
    generalised_risk: Annotated[tuple[float, ...], Strict(False)]


def reliability_bins(
    scores: ArrayLike, outcomes: ArrayLike, bins: int = BINS
) -> tuple[ReliabilityBin, ...]:
    """Bin scores (N,) in [0, 1] against outcomes (N,) of 0 and 1.

    Raises:
        DataError: different lengths, or scores outside [0, 1].
    """
    values = np.asarray(scores, dtype=np.float64)
    truth = np.asarray(outcomes, dtype=np.float64)
    if values.ndim != 1 or values.shape != truth.shape:
        raise DataError(f"scores {values.shape} and outcomes {truth.shape} differ in shape.")
    if not ((values >= 0.0) & (values <= 1.0)).all():
        raise DataError("a reliability diagram needs scores in [0, 1].")
    edges = np.linspace(0.0, 1.0, bins + 1)
    member = bin_index(values, bins)
    found: list[ReliabilityBin] = []
    for index in range(bins):
        inside = member == index
        n, hits = int(inside.sum()), int(truth[inside].sum())
        low, high = clopper_pearson(hits, n)
        found.append(
            ReliabilityBin(
                low=float(edges[index]),
                high=float(edges[index + 1]),
                n=n,
                mean_score=float(values[inside].mean()) if n else None,
                observed=hits / n if n else None,
                observed_low=low if n else None,
                observed_high=high if n else None,
            )
        )
    return tuple(found)


def reliability_diagram(
    scored: ScoredSet, flavour: Literal["top_label", "positive"], bins: int = BINS
) -> tuple[ReliabilityBin, ...]:
    """Bins behind ``ece_top_label``, or behind ``ece_positive`` with class 1 as the positive."""
    if flavour == "top_label":
        return reliability_bins(scored.confidence, scored.correct, bins)
    return reliability_bins(scored.probabilities[:, 1], scored.labels == 1, bins)


def risk_coverage_curve(scored: ScoredSet, max_points: int = 512) -> RiskCoverageCurve:
    """Points at the distinct confidences, thinned to about evenly spaced ``max_points``.

    The first and the last point are always kept.
    """
    coverage, selective, generalised = (
        row[0] for row in risk_coverage(scored, np.ones((1, scored.n)))
    )
    count = min(max_points, len(coverage))
    keep = np.unique(np.linspace(0, len(coverage) - 1, count).round().astype(np.int64))
    return RiskCoverageCurve(
        coverage=tuple(coverage[keep].tolist()),
        confidence=tuple(scored.confidence_ranking.values[keep].tolist()),
        selective_risk=tuple(selective[keep].tolist()),
        generalised_risk=tuple(generalised[keep].tolist()),
    )
