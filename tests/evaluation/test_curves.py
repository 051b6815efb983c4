"""Points of curves agree with the numbers that summarise them."""

from __future__ import annotations

import numpy as np
import pytest

from roadwork.errors import DataError
from roadwork.evaluation.curves import (
    RiskCoverageCurve,
    reliability_bins,
    reliability_diagram,
    risk_coverage_curve,
)
from roadwork.evaluation.metrics import METRICS, ScoredSet


def random_set(seed: int, n: int, digits: int | None = None) -> ScoredSet:
    rng = np.random.default_rng(seed)
    labels = rng.integers(2, size=n)
    p = 1 / (1 + np.exp(-rng.normal(size=n) - 2 * labels + 1))
    p = p if digits is None else np.round(p, digits)
    return ScoredSet(np.stack([1 - p, p], axis=1), labels)


def test_bins_by_hand() -> None:
    bins = reliability_bins([0.0, 0.1, 0.5, 0.6, 1.0], [0, 1, 1, 0, 1], bins=2)
    assert [(b.low, b.high, b.n) for b in bins] == [(0.0, 0.5, 3), (0.5, 1.0, 2)]
    assert bins[0].mean_score == pytest.approx(0.2)
    assert bins[0].observed == pytest.approx(2 / 3)
    assert bins[1].observed == 0.5
    assert bins[1].observed_low is not None and 0 < bins[1].observed_low < 0.5


@pytest.mark.parametrize("flavour", ["top_label", "positive"])
def test_bins_add_up_to_the_calibration_errors(flavour: str) -> None:
    scored = random_set(1, 300)
    bins = reliability_diagram(scored, flavour)  # pyright: ignore[reportArgumentType]
    gaps = [(b.n, abs((b.mean_score or 0) - (b.observed or 0))) for b in bins if b.n]
    assert len(bins) == 15 and sum(b.n for b in bins) == 300
    ece = METRICS[f"ece_{flavour}"].compute(scored).value
    mce = METRICS[f"mce_{flavour}"].compute(scored).value
    assert ece == pytest.approx(sum(n * gap for n, gap in gaps) / 300, abs=1e-12)
    assert mce == pytest.approx(max(gap for _, gap in gaps), abs=1e-12)


def test_empty_bins_have_no_numbers() -> None:
    empty = reliability_bins([0.95], [1], bins=10)[0]
    assert (empty.n, empty.mean_score, empty.observed, empty.observed_low) == (0, None, None, None)


def test_wrong_scores_are_refused() -> None:
    with pytest.raises(DataError, match="shape"):
        reliability_bins([0.5], [0, 1])
    for bad in (1.5, np.nan):
        with pytest.raises(DataError, match=r"\[0, 1\]"):
            reliability_bins([bad], [1])


def test_risk_coverage_by_hand_with_a_tie() -> None:
    p = np.array([0.9, 0.8, 0.8, 0.6])
    curve = risk_coverage_curve(ScoredSet(np.stack([1 - p, p], axis=1), np.array([1, 0, 1, 0])))
    assert curve.coverage == (0.25, 0.75, 1.0)
    assert curve.confidence == (0.9, 0.8, 0.6)
    assert curve.selective_risk == pytest.approx((0.0, 1 / 3, 0.5))
    assert curve.generalised_risk == pytest.approx((0.0, 0.25, 0.5))


@pytest.mark.parametrize("digits", [None, 2])
def test_the_curve_has_the_area_of_the_metric(digits: int | None) -> None:
    scored = random_set(2, 200, digits)
    curve = risk_coverage_curve(scored)
    area = np.trapezoid([0.0, *curve.generalised_risk], [0.0, *curve.coverage])
    assert METRICS["augrc"].compute(scored).value == pytest.approx(area, abs=1e-12)
    area = np.trapezoid([curve.selective_risk[0], *curve.selective_risk], [0.0, *curve.coverage])
    assert METRICS["aurc"].compute(scored).value == pytest.approx(area, abs=1e-12)


def test_a_long_curve_is_thinned_and_keeps_its_ends() -> None:
    scored = random_set(3, 5000)
    full, thin = risk_coverage_curve(scored, 10**6), risk_coverage_curve(scored, 100)
    assert len(full.coverage) == 5000 and len(thin.coverage) == 100
    assert thin.coverage[0] == full.coverage[0] and thin.coverage[-1] == 1.0
    assert set(thin.selective_risk) <= set(full.selective_risk)
    assert RiskCoverageCurve.model_validate_json(thin.model_dump_json()) == thin
