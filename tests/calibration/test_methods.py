"""Platt, beta, isotonic, histogram and Dirichlet against independent optimisers and by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from roadwork.calibration import (
    CALIBRATORS,
    BetaCalibration,
    DirichletL2,
    DirichletODIR,
    HistogramBinning,
    IsotonicCalibration,
    PlattScaling,
)
from roadwork.calibration.base import class_log_odds, from_margin, log_softmax, softmax
from roadwork.calibration.binning import expected_calibration_error
from roadwork.calibration.newton import fit_logistic
from roadwork.errors import ConfigError, DataError, TrainingError

FITTED = [name for name in CALIBRATORS if name != "identity"]


def draw(n: int, seed: int, a: float = 0.4, b: float = 0.7, c: float = -0.3) -> Any:
    """Log odds (n,) and labels whose true log odds are a ln p - b ln(1 - p) + c."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(scale=3.0, size=n)
    truth = -a * np.logaddexp(0, -odds) + b * np.logaddexp(0, odds) + c
    return odds, (rng.random(n) < expit(truth)).astype(np.int64)


def many(n: int, k: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=2.0, size=(n, k))
    chance = softmax(0.6 * logits + np.linspace(-0.5, 0.5, k))
    return logits, (rng.random((n, 1)) > chance.cumsum(axis=1)[:, :-1]).sum(axis=1)


def nll(model: Any, logits: np.ndarray, labels: np.ndarray) -> float:
    found = log_softmax(model.calibrated(logits))
    return -float(found[np.arange(len(labels)), labels].mean())


@pytest.mark.parametrize("seed", range(3))
def test_platt_agrees_with_scikit_learn(seed: int) -> None:
    odds, labels = draw(800, seed)
    found = PlattScaling.fit(from_margin(odds), labels)
    # Its sigmoid calibration is not public; a regression on both outcomes of each row, weighted by
    # Platt's targets, is the same problem.
    n1 = labels.sum()
    target = np.where(labels == 1, (n1 + 1) / (n1 + 2), 1 / (len(labels) - n1 + 2))
    oracle = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(
        np.r_[odds, odds][:, None],
        np.r_[np.ones(800), np.zeros(800)],
        sample_weight=np.r_[target, 1 - target],
    )
    assert found.slope == pytest.approx(oracle.coef_[0, 0], abs=1e-5)
    assert found.intercept == pytest.approx(oracle.intercept_[0], abs=1e-5)
    assert not found.at_bound
    value = found.transform(from_margin(np.array([1.5])))[0, 1]
    assert value == pytest.approx(expit(1.5 * found.slope + found.intercept), abs=1e-15)


@pytest.mark.parametrize("seed", range(3))
def test_beta_agrees_with_a_logistic_regression_and_recovers_the_truth(seed: int) -> None:
    odds, labels = draw(20000, seed)
    found = BetaCalibration.fit(from_margin(odds), labels)
    features = np.stack([-np.logaddexp(0, -odds), np.logaddexp(0, odds)], axis=1)
    oracle = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(features, labels)
    assert (found.a, found.b) == pytest.approx(tuple(oracle.coef_[0]), abs=1e-4)
    assert found.c == pytest.approx(oracle.intercept_[0], abs=1e-4)
    assert (found.a, found.b, found.c) == pytest.approx((0.4, 0.7, -0.3), abs=0.08)
    assert not found.at_bound


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(5, 60), scale=st.sampled_from([0.1, 1.0, 30.0]))
def test_beta_is_the_best_in_its_box(seed: int, n: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    odds, labels = rng.normal(scale=scale, size=n), rng.integers(2, size=n)
    labels[:2] = 0, 1
    found = BetaCalibration.fit(from_margin(odds), labels)
    features = np.stack([-np.logaddexp(0, -odds), np.logaddexp(0, odds), np.ones(n)], axis=1)

    def loss(theta: np.ndarray) -> float:
        u = features @ theta
        return float((np.logaddexp(0, u) - labels * u).mean())

    box = [(0, math.exp(4)), (0, math.exp(4)), (None, None)]
    least = min(
        float(minimize(loss, start, method="L-BFGS-B", bounds=box).fun)
        for start in ([0.0, 0.0, 0.0], [1.0, 1.0, 0.0])
    )
    assert loss(np.array([found.a, found.b, found.c])) <= least + 1e-9
    assert found.a >= 0 and found.b >= 0


def test_scores_that_rank_the_wrong_way_are_not_turned_round() -> None:
    odds, labels = draw(500, 1)
    for method in (PlattScaling, BetaCalibration):
        found = method.fit(from_margin(-odds), labels)
        assert found.at_bound
        rising = found.transform(from_margin(np.linspace(-5, 5, 50)))[:, 1]
        assert (np.diff(rising) >= 0).all()


@pytest.mark.parametrize("digits", [None, 1])
def test_isotonic_agrees_with_scikit_learn_inside_its_bounds(digits: int | None) -> None:
    odds, labels = draw(600, 4)
    odds = odds if digits is None else odds.round(digits)
    found = IsotonicCalibration.fit(from_margin(odds), labels)
    oracle = IsotonicRegression(out_of_bounds="clip").fit(odds, labels)
    new = np.r_[np.linspace(-12, 12, 401), odds]
    # Knots at the odds as they come back from the logits, so no two sides may differ by rounding.
    wanted = np.clip(oracle.predict(new), 1 / 602, 1 - 1 / 602)
    close = np.isclose(found.transform(from_margin(new))[:, 1], wanted, atol=1e-9)
    # Clipping comes before interpolation here, so that only cells beside a bound may differ.
    inner = (oracle.predict(new) > 1 / 602) & (oracle.predict(new) < 1 - 1 / 602)
    assert close[-600:].all()
    assert close[inner].mean() > 0.98
    assert found.at_bound


def test_isotonic_by_hand() -> None:
    # Means .5 (pooled over two), 1: with n = 4 values stay in [1/6, 5/6].
    found = IsotonicCalibration.fit(from_margin(np.array([-2.0, -1.0, 0.0, 1.0])), [0, 1, 0, 1])
    assert found.knots == ((-2.0, -1.0, 0.0, 1.0),)
    assert found.values == (pytest.approx((1 / 6, 0.5, 0.5, 5 / 6)),)
    value = found.transform(from_margin(np.array([-9.0, -0.5, 0.5, 9.0])))[:, 1]
    assert value == pytest.approx([1 / 6, 0.5, (0.5 + 5 / 6) / 2, 5 / 6])


def test_histogram_by_hand() -> None:
    # 40 rows make two bins of 20: 5 and 15 positives; a tie at the edge moves as a whole.
    odds = np.r_[np.zeros(20), np.arange(1.0, 21.0)]
    labels = np.r_[np.arange(20) < 5, np.arange(20) < 15].astype(int)
    found = HistogramBinning.fit(from_margin(odds), labels)
    assert found.edges == ((1.0,),)
    assert found.values == (pytest.approx((6 / 22, 16 / 22)),)
    value = found.transform(from_margin(np.array([-5.0, 0.999, 1.0, 50.0])))[:, 1]
    assert value == pytest.approx([6 / 22, 6 / 22, 16 / 22, 16 / 22])
    few = HistogramBinning.fit(from_margin(np.arange(6.0)), [0, 1, 0, 1, 1, 1])
    assert few.edges == ((),) and few.values == (pytest.approx((5 / 8,)),)
    constant = HistogramBinning.fit(np.zeros((60, 2)), np.arange(60) % 3 > 0)
    assert constant.edges == ((),)


def test_histogram_bins_hold_about_equally_many_rows() -> None:
    odds, labels = draw(1000, 2)
    found = HistogramBinning.fit(from_margin(odds), labels)
    member = np.searchsorted(found.edges[0], odds, side="right")
    counts = np.bincount(member)
    assert len(counts) == 15 and counts.max() - counts.min() <= 1


@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("method", [DirichletODIR, DirichletL2])
def test_dirichlet_agrees_with_an_independent_optimiser(method: Any, k: int) -> None:
    logits, labels = many(400, k, seed=k)
    found = method.fit(logits, labels)
    logs, strength = log_softmax(logits), found.strength

    def objective(flat: np.ndarray) -> float:
        table, bias = flat[: k * k].reshape(k, k), flat[k * k :]
        rows = log_softmax(logs @ table.T + bias)[np.arange(len(labels)), labels]
        off = table**2 if method is DirichletL2 else table**2 * (1 - np.eye(k))
        share = 1 / k**2 if method is DirichletL2 else 1 / (k * (k - 1))
        return -rows.mean() + strength * (share * off.sum() + (bias**2).sum() / k)

    start = np.r_[np.eye(k).ravel(), np.zeros(k)]
    oracle = minimize(objective, start, method="BFGS", options={"gtol": 1e-7})
    ours = np.r_[np.array(found.weights).ravel(), np.array(found.bias)]
    assert objective(ours) <= oracle.fun + 1e-10
    # The likelihood alone does not fix W; with the penalty the probabilities agree.
    table, bias = oracle.x[: k * k].reshape(k, k), oracle.x[k * k :]
    np.testing.assert_allclose(found.transform(logits), softmax(logs @ table.T + bias), atol=1e-5)
    assert not found.at_bound


def test_dirichlet_of_two_classes_is_beta_without_its_box() -> None:
    odds, labels = draw(20000, 3)
    logits = from_margin(odds)
    beta = BetaCalibration.fit(logits, labels)
    weights, bias = DirichletODIR._minimise(log_softmax(logits), labels, 1e-10)
    found = softmax(log_softmax(logits) @ weights.T + bias)
    np.testing.assert_allclose(found, beta.transform(logits), atol=1e-5)


def test_adding_a_row_to_every_row_of_the_matrix_changes_no_probability() -> None:
    logits, labels = many(100, 3, seed=9)
    found = DirichletODIR.fit(logits, labels)
    moved = np.array(found.weights) + np.array([0.3, -1.0, 2.0])
    again = found.model_copy(update={"weights": tuple(map(tuple, moved.tolist()))})
    np.testing.assert_allclose(again.transform(logits), found.transform(logits), atol=1e-12)


@pytest.mark.parametrize("method", FITTED)
def test_overconfidence_is_taken_away(method: str) -> None:
    """Logits three times too large: the calibration error falls by more than half."""
    rng = np.random.default_rng(11)
    truth = rng.normal(scale=1.5, size=8000)
    labels = (rng.random(8000) < expit(truth)).astype(np.int64)
    logits = from_margin(3.0 * truth)
    fitted = CALIBRATORS[method].fit(logits[:2000], labels[:2000])
    before = expected_calibration_error(softmax(logits[2000:])[:, 1], labels[2000:] == 1)
    after = expected_calibration_error(fitted.transform(logits[2000:])[:, 1], labels[2000:] == 1)
    assert before > 0.15
    assert after <= 0.5 * before
    assert nll(fitted, logits[2000:], labels[2000:]) < nll(
        CALIBRATORS["identity"].fit(logits, labels), logits[2000:], labels[2000:]
    )


@pytest.mark.parametrize("method", FITTED)
def test_one_class_is_refused_with_advice(method: str) -> None:
    with pytest.raises(DataError, match="at least two classes"):
        CALIBRATORS[method].fit(np.zeros((4, 2)), [1, 1, 1, 1])


@pytest.mark.parametrize("method", FITTED)
@pytest.mark.parametrize(
    ("odds", "labels"),
    [
        ([-5.0, -4.0, 4.0, 5.0] * 5, [0, 0, 1, 1] * 5),
        ([5.0, 4.0, -4.0, -5.0] * 5, [0, 0, 1, 1] * 5),
        ([-1000.0, 1000.0] * 3, [0, 1] * 3),
        ([0.0, 0.0, 0.0], [0, 1, 1]),
        ([-1.0, 1.0], [0, 1]),
        ([1e-9, -1e-9, 2e-9], [1, 0, 1]),
        ([3000.0, 3001.0, 3002.0, 2999.0], [0, 1, 1, 0]),
    ],
)
def test_separable_constant_huge_and_tiny_sets_give_bounded_maps(
    method: str, odds: list[float], labels: list[int]
) -> None:
    logits = from_margin(np.array(odds))
    found = CALIBRATORS[method].fit(logits, labels)
    table = found.transform(logits)
    assert np.isfinite(table).all() and np.isfinite(found.calibrated(logits)).all()
    assert found.model_validate_json(found.model_dump_json()) == found


def test_separable_sets_are_reported() -> None:
    logits, labels = from_margin(np.array([-0.01, -0.02, 0.01, 0.02] * 50)), [0, 0, 1, 1] * 50
    for method in ("temperature", "platt", "beta", "isotonic"):
        assert CALIBRATORS[method].fit(logits, labels).model_dump()["at_bound"], method


@pytest.mark.parametrize("method", ["platt", "beta"])
def test_methods_of_two_classes_say_so(method: str) -> None:
    logits, labels = many(50, 3, seed=0)
    with pytest.raises(ConfigError, match=rf"(?i){method} calibration is for two classes"):
        CALIBRATORS[method].fit(logits, labels)
    assert CALIBRATORS[method].classes == "two"


@pytest.mark.parametrize("method", [m for m in CALIBRATORS if CALIBRATORS[m].classes == "any"])
def test_many_classes_are_improved(method: str) -> None:
    logits, labels = many(3000, 3, seed=1)
    fitted = CALIBRATORS[method].fit(3 * logits[:1500], labels[:1500])
    plain = CALIBRATORS["identity"].fit(logits, labels)
    after = nll(fitted, 3 * logits[1500:], labels[1500:])
    before = nll(plain, 3 * logits[1500:], labels[1500:])
    assert after == before if method == "identity" else after < 0.7 * before
    if method not in ("identity", "temperature"):
        with pytest.raises(DataError, match="3 classes"):
            fitted.transform(logits[:, :2])


def test_log_odds_of_a_class_against_the_rest() -> None:
    chance = np.array([[0.2, 0.3, 0.5], [1e-3, 0.9, 0.099]])
    wanted = np.log(chance) - np.log1p(-chance)
    np.testing.assert_allclose(class_log_odds(np.log(chance) + 7.0), wanted, atol=1e-12)
    np.testing.assert_allclose(class_log_odds(np.array([[1.0, 4.0]])), [[3.0]])
    assert np.isfinite(class_log_odds(np.array([[0.0, 5000.0, -5000.0]]))).all()


def test_an_optimiser_that_stops_early_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from roadwork.calibration import newton

    monkeypatch.setattr(newton, "_ITERATIONS", 1)
    odds, labels = draw(100, 0)
    with pytest.raises(TrainingError, match="did not converge"):
        fit_logistic(
            odds[:, None], labels.astype(float), np.array([-9.0]), np.array([9.0]), "slope"
        )


@pytest.mark.parametrize(
    "change",
    [
        {"knots": [[0.0, 0.0, 1.0]]},
        {"values": [[0.5, 0.4, 0.6]]},
        {"values": [[0.0, 0.4, 0.6]]},
        {"values": [[0.4, 0.6]]},
        {"knots": [], "values": []},
        {"classes": 3},
    ],
)
def test_a_broken_isotonic_record_is_refused(change: dict[str, Any]) -> None:
    good = {
        "method": "isotonic",
        "classes": 2,
        "knots": [[-1.0, 0.0, 1.0]],
        "values": [[0.2, 0.5, 0.6]],
        "n": 9,
        "at_bound": False,
    }
    IsotonicCalibration.model_validate(good)
    with pytest.raises(ValueError, match=r"map|knots|values"):
        IsotonicCalibration.model_validate(good | change)
