"""Adaptive, debiased and smooth calibration errors, Murphy's parts, and shares: hand and oracle."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import brentq
from sklearn.metrics import precision_recall_curve
from torchmetrics.functional.classification import binary_recall_at_fixed_precision

from roadwork.evaluation.adaptive_calibration import CELLS
from roadwork.evaluation.bootstrap import bootstrap, resample_weights, resampled
from roadwork.evaluation.metrics import METRICS, ScoredSet, compute_metrics
from roadwork.evaluation.resamples import Resamples
from tests.evaluation.test_metrics import TINY, binary, random_set, value


def test_equal_mass_bins_by_hand_and_against_a_plain_loop() -> None:
    # 30 rows make 15 bins of two neighbours each.
    rng = np.random.default_rng(0)
    p, y = rng.random(30), rng.integers(2, size=30)
    order = np.argsort(p)
    pairs = (p - y)[order].reshape(15, 2)
    wanted = np.abs(pairs.sum(axis=1)).sum() / 30
    assert value("ece_equal_mass", binary(p, y)) == pytest.approx(wanted, abs=1e-12)
    # Fewer rows than bins: each distinct score is its own bin, equal scores share theirs.
    found = value("ece_equal_mass", binary([0.2, 0.2, 0.9], [0, 1, 1]))
    assert found == pytest.approx((abs(0.4 - 1) + 0.1) / 3)


def test_equal_mass_equals_equal_width_where_all_gaps_have_one_sign() -> None:
    p = np.linspace(0.01, 0.99, 77)
    scored = binary(p, np.zeros(77, dtype=int))
    assert value("ece_equal_mass", scored) == pytest.approx(p.mean())
    assert value("ece_positive", scored) == pytest.approx(p.mean())


def test_the_debiased_error_by_hand_and_without_bias() -> None:
    # One distinct score, one bin of 4: gap .5 - .5 = 0 less .25 / 3, below 0: nothing is left.
    assert value("ece_debiased", binary([0.5] * 4, [0, 1, 0, 1])) == 0.0
    found = value("ece_debiased", binary([0.9] * 4, [0, 1, 0, 1]))
    assert found == pytest.approx(math.sqrt(0.4**2 - 0.25 / 3))
    rng = np.random.default_rng(1)
    squares, plugin = [], []
    for _ in range(300):
        p = rng.random(300)
        scored = binary(p, (rng.random(300) < p).astype(int))
        squares.append(value("ece_debiased", scored))
        plugin.append(value("ece_equal_mass", scored))
    # A perfect forecaster: the plain error is far from 0, the debiased one is 0 half the time.
    assert np.mean(plugin) > 0.06
    assert 0.35 < np.mean(np.array(squares) == 0.0) < 0.65


def smooth_by_quadrature(p: np.ndarray, y: np.ndarray) -> float:
    """The definition: a Gaussian reflected at both ends, integrated on a fine grid."""
    t = (np.arange(4000) + 0.5) / 4000

    def error(width: float) -> float:
        total = np.zeros_like(t)
        for score, residual in zip(p, y - p, strict=True):
            for mirror in range(-3, 4):
                for centre in (2 * mirror + score, 2 * mirror - score):
                    total += residual * np.exp(-(((t - centre) / width) ** 2) / 2)
        return float(np.abs(total).mean() / (len(p) * width * math.sqrt(2 * math.pi)))

    return float(brentq(lambda width: error(width) - width, 0.005, 0.999, xtol=1e-6))


@pytest.mark.parametrize("seed", range(3))
def test_the_smooth_error_is_its_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    p = rng.beta(0.5, 0.5, size=60)
    y = (rng.random(60) < 0.3 + 0.3 * p).astype(int)
    wanted = smooth_by_quadrature(p, y)
    assert value("ece_smooth", binary(p, y)) == pytest.approx(wanted, abs=2e-4)


def test_the_smooth_error_of_one_score_solves_its_equation() -> None:
    # One score in the middle: the integral is |gap| itself, as a kernel has mass 1.
    found = value("ece_smooth", binary([0.5] * 10, [1] * 8 + [0] * 2))
    assert found == pytest.approx(0.3, abs=1e-5)
    assert value("ece_smooth", binary([1.0, 0.0], [1, 0])) == pytest.approx(0.0, abs=1e-5)
    mass, _ = quad(lambda t: math.exp(-((t / 0.3) ** 2) / 2), -9, 9)
    assert mass == pytest.approx(0.3 * math.sqrt(2 * math.pi))
    assert CELLS == 512


def test_classwise_error_of_two_classes_is_that_of_the_positive_one() -> None:
    scored = random_set(2, 300, 2)
    assert value("ece_classwise", scored) == pytest.approx(value("ece_positive", scored))
    many = random_set(2, 300, 4)
    assert value("ece_classwise", many) == pytest.approx(value("ece_positive", many))


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.floats(0, 1, allow_subnormal=False), st.booleans()), min_size=1, max_size=40
    )
)
def test_the_parts_of_brier_add_up(rows: list[tuple[float, bool]]) -> None:
    scored = binary([p for p, _ in rows], [int(y) for _, y in rows])
    parts = {name: value(f"brier_{name}", scored) for name in ("reliability", "resolution")}
    unc = value("brier_uncertainty", scored)
    within = value("brier_within_bins", scored)
    total = parts["reliability"] - parts["resolution"] + unc + within
    assert total == pytest.approx(value("brier", scored), abs=1e-12)
    assert parts["reliability"] >= 0 and -1e-15 <= parts["resolution"] <= unc + 1e-12


def test_murphy_by_hand() -> None:
    # Two distinct scores in bins of their own: .2 with one positive of four, .8 with three of four.
    scored = binary([0.2] * 4 + [0.8] * 4, [1, 0, 0, 0, 1, 1, 1, 0])
    assert value("brier_reliability", scored) == pytest.approx(0.05**2)
    assert value("brier_resolution", scored) == pytest.approx(0.25**2)
    assert value("brier_uncertainty", scored) == pytest.approx(0.25)
    assert value("brier_within_bins", scored) == pytest.approx(0.0, abs=1e-15)
    many = METRICS["brier_resolution"].compute(random_set(0, 30, 3))
    assert many.value is None and many.reason == "defined for two classes only"


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("digits", [None, 1])
def test_recall_at_a_precision_agrees_with_both_libraries(seed: int, digits: int | None) -> None:
    import torch

    scored = random_set(seed, 200, 2, digits)
    p, y = scored.probabilities[:, 1], scored.labels
    precision, recall, _ = precision_recall_curve(y, p)
    wanted = recall[precision >= 0.9].max()
    assert value("recall_at_90_precision", scored) == pytest.approx(wanted, abs=1e-12)
    theirs, _ = binary_recall_at_fixed_precision(
        torch.from_numpy(p), torch.from_numpy(y), min_precision=0.9
    )
    assert value("recall_at_90_precision", scored) == pytest.approx(float(theirs), abs=1e-6)


def test_recall_at_a_precision_that_is_never_reached_is_zero() -> None:
    assert value("recall_at_90_precision", binary([0.9, 0.1], [0, 1])) == 0.0
    # 9 of 10 is precise enough: the bound counts.
    labels = [1] * 9 + [0, 0, 1]
    scores = [0.9] * 10 + [0.2, 0.1]
    assert value("recall_at_90_precision", binary(scores, labels)) == pytest.approx(9 / 10)
    none = METRICS["recall_at_90_precision"].compute(binary([0.3, 0.4], [0, 0]))
    assert none.value is None and none.reason == "no positives present"


def test_risk_at_a_coverage_by_hand() -> None:
    # Confidences .95 .9 .85 .8 .75 and so on; the third and the last are wrong.
    confidence = np.array([0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.58, 0.55])
    wrong = np.isin(np.arange(10), [2, 9])
    scored = binary(confidence, (~wrong).astype(int))
    assert value("risk_at_80_coverage", scored) == pytest.approx(1 / 8)
    assert value("risk_at_90_coverage", scored) == pytest.approx(1 / 9)
    tied = binary([0.9] * 5 + [0.6] * 5, [1] * 8 + [0] * 2)
    assert value("risk_at_80_coverage", tied) == pytest.approx(2 / 10)
    assert value("risk_at_80_coverage", TINY) == pytest.approx(2 / 4)


def test_coverage_by_size_of_set_by_hand() -> None:
    # Singletons: 2 of 3 cover; full sets: all; an empty set never, and is counted elsewhere.
    sets = np.array([[1, 0], [0, 1], [1, 0], [1, 1], [0, 0]], dtype=bool)
    scored = binary([0.1, 0.9, 0.3, 0.5, 0.5], [0, 1, 1, 1, 0], sets=sets)
    assert value("coverage_lowest_size", scored) == pytest.approx(2 / 3)
    empty = METRICS["coverage_lowest_size"].compute(scored.take([4]))
    assert empty.value is None and empty.reason == "every set is empty"


def test_one_row_gives_values_or_reasons() -> None:
    found = compute_metrics(binary([0.7], [1], sets=np.array([[False, True]])))
    for name, metric in found.items():
        assert (metric.value is None) == (metric.reason is not None), name
    assert found["ece_equal_mass"].value == pytest.approx(0.3)
    assert found["ece_debiased"].value == 0.0
    assert found["risk_at_80_coverage"].value == 0.0
    assert found["augrc"].value == 0.0 and found["auroc"].value is None


def test_a_constant_score_gives_the_known_values() -> None:
    found = compute_metrics(binary([0.7] * 10, [1] * 4 + [0] * 6))
    for name in ("ece_positive", "ece_equal_mass", "ece_smooth", "mce_positive"):
        assert found[name].value == pytest.approx(0.3, abs=1e-5), name
    assert found["auroc"].value == 0.5 and found["augrc"].value == pytest.approx(0.3)
    assert found["brier_resolution"].value == pytest.approx(0.0)


@pytest.mark.parametrize("groups", [True, False])
@pytest.mark.parametrize("k", [2, 3])
def test_factored_weights_are_the_matrix(k: int, groups: bool) -> None:
    scored = random_set(k, 120, k, digits=1)
    if not groups:
        scored = ScoredSet(scored.probabilities, scored.labels, sets=scored.sets)
    (matrix,) = resample_weights(scored, 30, seed=4)
    (factored,) = resampled(scored, 30, seed=4)
    assert isinstance(factored, Resamples) and len(factored) == 30
    mask = np.arange(120) % 3 > 0
    for name, info in METRICS.items():
        if info.missing(scored):
            continue
        np.testing.assert_allclose(
            info.batch(scored, factored), info.batch(scored, matrix), atol=1e-9, err_msg=name
        )
        if name == "within_group_auroc":  # weights must be constant within groups
            continue
        np.testing.assert_allclose(
            info.batch(scored, factored * mask),
            info.batch(scored, matrix * mask),
            atol=1e-9,
            err_msg=name,
        )


def test_portions_change_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    from roadwork.evaluation import bootstrap as module
    from roadwork.evaluation import resamples

    scored = random_set(5, 200, 2)
    whole = bootstrap(scored, resamples=60, seed=1)
    monkeypatch.setattr(resamples, "_BLOCK", 700)
    monkeypatch.setattr(module, "_COUNTS", 500)
    small = bootstrap(scored, resamples=60, seed=1)
    for name, metric in whole.metrics.items():
        again = small.metrics[name]
        assert (metric.low, metric.high) == pytest.approx((again.low, again.high), abs=1e-12), name


def test_an_array_times_resamples_is_an_error_and_not_a_wrong_product() -> None:
    scored = random_set(0, 20, 2)
    (weights,) = resampled(scored, 3, seed=0)
    with pytest.raises(TypeError):
        np.ones(20) * weights  # pyright: ignore
