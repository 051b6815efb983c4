"""The registry of calibrators, and what is true of every one of them."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from roadwork.calibration import CALIBRATORS, Identity, TemperatureScaling, parse_calibrator
from roadwork.calibration.base import log_softmax, softmax
from roadwork.errors import DataError

RNG = np.random.default_rng(5)
LOGITS = RNG.normal(scale=2.0, size=(200, 3))
LABELS = RNG.integers(3, size=200)


@pytest.mark.parametrize("name", CALIBRATORS)
def test_every_calibrator_gives_distributions_and_survives_json(name: str) -> None:
    info = CALIBRATORS[name]
    logits = LOGITS if info.classes == "any" else LOGITS[:, :2]
    labels = LABELS if info.classes == "any" else LABELS % 2
    fitted = info.fit(logits, labels)
    assert isinstance(fitted, info.model)
    again = parse_calibrator(json.loads(fitted.model_dump_json()))
    assert again == fitted
    probabilities = fitted.transform(logits)
    assert probabilities.dtype == np.float64
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-12)
    assert (probabilities >= 0).all()
    assert (again.transform(logits) == probabilities).all()
    np.testing.assert_allclose(fitted.transform(logits[:7]), probabilities[:7], rtol=1e-13)
    with pytest.raises(DataError):
        fitted.transform([[0.0, np.nan, 1.0]])
    with pytest.raises(DataError):
        info.fit(logits, labels[:-1])


@given(temperature=st.floats(1e-300, 1e300, exclude_min=True), at_bound=st.booleans())
def test_the_temperature_is_exact_through_json(temperature: float, at_bound: bool) -> None:
    fitted = TemperatureScaling(temperature=temperature, at_bound=at_bound)
    assert parse_calibrator(json.loads(fitted.model_dump_json())) == fitted


def test_identity_is_the_softmax() -> None:
    found = Identity().transform([[0.0, np.log(3.0)]])
    np.testing.assert_allclose(found, [[0.25, 0.75]], atol=1e-15)


def test_softmax_is_stable_and_agrees_with_its_logarithm() -> None:
    logits = np.array([[1e4, 1e4 - 1.0], [-1e4, 1e4], [0.0, 0.0]])
    np.testing.assert_allclose(np.exp(log_softmax(logits)), softmax(logits), atol=1e-15)
    assert log_softmax(logits)[1, 0] == -2e4
    assert softmax(logits)[2].tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
    "data",
    [
        {"method": "magic"},
        {},
        {"method": ["temperature"]},
        {"method": "temperature", "temperature": -1.0, "at_bound": False},
        {"method": "temperature", "temperature": float("inf"), "at_bound": False},
        {"method": "temperature", "temperature": "2", "at_bound": False},
        {"method": "temperature", "temperature": 1.0, "at_bound": False, "extra": 1},
        {"method": "temperature", "temperature": 1.0},
    ],
)
def test_a_wrong_record_is_refused(data: dict[str, object]) -> None:
    with pytest.raises(DataError, match=r"calibrator"):
        parse_calibrator(data)


def test_a_fitted_calibrator_cannot_be_changed() -> None:
    fitted = TemperatureScaling(temperature=1.5, at_bound=False)
    with pytest.raises(ValidationError):
        fitted.temperature = 2.0  # pyright: ignore[reportAttributeAccessIssue]


def test_applying_needs_neither_torch_nor_scipy() -> None:
    code = (
        "import sys\n"
        "from roadwork.calibration import parse_calibrator\n"
        "from roadwork.conformal import parse_conformal\n"
        "c = parse_calibrator({'method': 'temperature', 'temperature': 2, 'at_bound': False})\n"
        "d = {'method': 'lac', 'alpha': 0.1, 'threshold': 0.4, 'n': 9, 'rank': 9}\n"
        "s = parse_conformal(d)\n"
        "assert s.predict_set(c.transform([[0.0, 4.0]])).tolist() == [[False, True]]\n"
        "assert s.guarantee\n"
        "assert not {'torch', 'scipy', 'sklearn'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_summary_names_numbers_and_counts_lists() -> None:
    assert TemperatureScaling(temperature=1.23456, at_bound=False).summary == (
        "temperature (temperature 1.235, at_bound False)"
    )
    fitted = CALIBRATORS["isotonic"].fit(LOGITS[:, :2], LABELS % 2)
    count = len(fitted.model_dump()["knots"][0])
    assert count > 1
    assert fitted.summary.startswith(f"isotonic (classes 2, knots of {count} values, values of")


@pytest.mark.parametrize("name", [name for name in CALIBRATORS if name != "identity"])
def test_parameters_are_stored_with_their_convention(name: str) -> None:
    stored = CALIBRATORS[name].fit(LOGITS[:, :2], LABELS % 2).model_dump()
    assert len(stored["convention"]) > 20
    with pytest.raises(DataError, match="not valid"):
        parse_calibrator(stored | {"convention": "1 / T"})
