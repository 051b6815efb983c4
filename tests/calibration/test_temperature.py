"""Temperature scaling against a scalar optimiser, known truths and broken inputs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from roadwork.calibration import TemperatureScaling, temperature
from roadwork.calibration.base import log_softmax, softmax
from roadwork.calibration.temperature import LOG_TEMPERATURE_BOUND
from roadwork.errors import DataError, TrainingError


def draw(n: int, k: int, truth: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose softmax at temperature ``truth`` is the true distribution of the labels."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=3.0, size=(n, k)) * truth
    cumulative = softmax(logits / truth).cumsum(axis=1)
    return logits, (rng.random((n, 1)) > cumulative[:, :-1]).sum(axis=1)


def oracle(logits: np.ndarray, labels: np.ndarray) -> float:
    rows = np.arange(len(labels))
    found = minimize_scalar(
        lambda t: -log_softmax(logits * math.exp(-t))[rows, labels].mean(),
        bounds=(-4.0, 4.0),
        method="bounded",
        options={"xatol": 1e-10},
    )
    return math.exp(found.x)


@pytest.mark.parametrize(("k", "truth"), [(2, 2.5), (2, 0.4), (5, 2.5)])
def test_recovers_the_true_temperature(k: int, truth: float) -> None:
    logits, labels = draw(20000, k, truth, seed=k)
    fitted = TemperatureScaling.fit(logits, labels)
    assert fitted.temperature == pytest.approx(truth, rel=0.04)
    assert not fitted.at_bound
    assert fitted.temperature == pytest.approx(oracle(logits, labels), rel=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    k=st.integers(2, 6),
    n=st.integers(20, 200),
    log_scale=st.floats(-3.0, 3.0),
    noise=st.floats(0.05, 1.0),
)
def test_agrees_with_a_scalar_optimiser(
    seed: int, k: int, n: int, log_scale: float, noise: float
) -> None:
    logits, labels = draw(n, k, 1.0, seed)
    rng = np.random.default_rng(seed)
    labels = np.where(rng.random(n) < noise, rng.integers(k, size=n), labels)
    labels[:2] = 0, 1
    logits = logits * math.exp(log_scale)
    fitted = TemperatureScaling.fit(logits, labels)
    rows = np.arange(n)

    def loss(value: float) -> float:
        return float(-log_softmax(logits / value)[rows, labels].mean())

    # Losses, not temperatures: near the bounds the likelihood is flat.
    assert loss(fitted.temperature) <= loss(oracle(logits, labels)) + 1e-9


def test_the_slope_vanishes_at_the_fit() -> None:
    logits, labels = draw(500, 3, 2.0, seed=7)
    fitted = TemperatureScaling.fit(logits, labels)
    # At the optimum the expected true-class logit under the model equals the observed one.
    expected = (fitted.transform(logits) * logits).sum(axis=1).mean()
    assert expected == pytest.approx(logits[np.arange(500), labels].mean(), abs=1e-7)


def test_transform_divides_the_logits_and_keeps_their_order() -> None:
    fitted = TemperatureScaling(temperature=2.0, at_bound=False)
    found = fitted.transform([[0.0, 2.0], [2000.0, -2000.0]])
    assert found[0, 1] == pytest.approx(1.0 / (1.0 + math.exp(-1.0)), abs=1e-15)
    assert found[1].tolist() == [1.0, 0.0]
    assert fitted.transform(np.empty((0, 2))).shape == (0, 2)


def test_separable_data_end_on_the_cold_bound() -> None:
    labels = np.array([0, 1] * 20)
    logits = np.where(np.eye(2)[labels] == 1, 5.0, -5.0)
    fitted = TemperatureScaling.fit(logits, labels)
    assert fitted.at_bound
    assert fitted.temperature == pytest.approx(math.exp(-LOG_TEMPERATURE_BOUND))


def test_logits_that_are_always_wrong_end_on_the_hot_bound() -> None:
    labels = np.array([0, 1] * 20)
    logits = np.where(np.eye(2)[labels] == 1, -5.0, 5.0)
    fitted = TemperatureScaling.fit(logits, labels)
    assert fitted.at_bound
    assert fitted.temperature == pytest.approx(math.exp(LOG_TEMPERATURE_BOUND))


def test_an_optimiser_that_stops_early_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, labels = draw(500, 2, 2.5, seed=1)
    monkeypatch.setattr(temperature, "_minimise", lambda scores, labels: 1.7)
    with pytest.raises(TrainingError, match="did not converge"):
        TemperatureScaling.fit(logits, labels)


def test_fitting_leaves_its_inputs_alone() -> None:
    logits, labels = draw(50, 2, 1.0, seed=3)
    logits.setflags(write=False)
    labels.setflags(write=False)
    before = logits.copy()
    TemperatureScaling.fit(logits, labels)
    assert (logits == before).all()


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (np.zeros((3, 2)), [1, 1, 1], "class 1"),
        ([[0.0, np.nan], [0.0, 1.0]], [0, 1], "not finite in 1 of 2 rows, first in row 0"),
        ([[0.0, 1.0], [np.inf, 1.0]], [0, 1], "row 1"),
        (np.zeros((3, 1)), [0, 0, 0], "shape"),
        (np.zeros(3), [0, 1, 0], "shape"),
        (np.zeros((3, 2)), [0, 1], "shape"),
        (np.zeros((2, 2)), [0, 2], "0..1"),
        (np.zeros((2, 2)), [0, -1], "0..1"),
        (np.zeros((2, 2)), [0.0, 1.0], "integers"),
        (np.zeros((0, 2)), np.zeros(0, dtype=int), "no rows"),
    ],
)
def test_broken_inputs_are_refused(logits: object, labels: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        TemperatureScaling.fit(logits, labels)  # pyright: ignore[reportArgumentType]
