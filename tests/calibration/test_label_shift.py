"""Label shift: Bayes' theorem by hand, the JSON form, and the warning."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from roadwork.calibration import CALIBRATORS, Identity, TemperatureScaling, parse_calibrator
from roadwork.calibration.label_shift import shift_prior, warn_of_marginal_coverage
from roadwork.errors import ConfigError, DataError

HALF = [0, 1, 0, 1]


def test_the_shift_by_hand() -> None:
    """Odds 4 : 1 at a prior of 1/2 are odds 4/9 at a prior of 1/10, that is p = 4/13."""
    plain = TemperatureScaling(temperature=2.0, at_bound=False)
    shifted = shift_prior(plain, HALF, 0.1)
    logits = [[0.0, 2.0 * np.log(4.0)], [1.0, 1.0]]
    np.testing.assert_allclose(plain.transform(logits)[:, 1], [4 / 5, 1 / 2])
    np.testing.assert_allclose(shifted.transform(logits)[:, 1], [4 / 13, 1 / 10])
    np.testing.assert_allclose(shifted.calibrated(logits), plain.calibrated(logits))
    back = shift_prior(plain, [1, 1, 1, 0], 0.75)  # the same prior: nothing moves
    np.testing.assert_allclose(back.transform(logits), plain.transform(logits))


def test_posteriors_of_drawn_data_are_right_at_the_new_prior() -> None:
    """N(-1, 1) and N(1, 1): the true log odds are 2 x plus those of the prior."""
    rng = np.random.default_rng(0)
    labels = (rng.random(20000) < 0.85).astype(np.int64)
    x = rng.normal(2.0 * labels - 1.0)
    margin = 2 * x + np.log(0.85 / 0.15)
    logits = 3.0 * np.stack([-margin / 2, margin / 2], axis=1)  # three times too sure
    fitted = CALIBRATORS["temperature"].fit(logits, labels)
    shifted = shift_prior(fitted, labels, 0.05)
    deployed = (rng.random(200000) < 0.05).astype(np.int64)
    x = rng.normal(2.0 * deployed - 1.0)
    margin = 2 * x + np.log(0.85 / 0.15)
    p = shifted.transform(3.0 * np.stack([-margin / 2, margin / 2], axis=1))[:, 1]
    truth = 1 / (1 + np.exp(-(2 * x + np.log(0.05 / 0.95))))
    assert np.abs(p - truth).max() < 0.03
    assert p.mean() == pytest.approx(deployed.mean(), abs=0.003)
    unshifted = fitted.transform(3.0 * np.stack([-margin / 2, margin / 2], axis=1))[:, 1]
    assert unshifted.mean() > 4 * deployed.mean()


@pytest.mark.parametrize("method", CALIBRATORS)
def test_the_priors_are_in_the_json_form_and_come_back(method: str) -> None:
    logits = np.random.default_rng(0).normal(size=(40, 2))
    plain = CALIBRATORS[method].fit(logits, np.arange(40) % 2)
    assert not {"calibration_prior", "deployment_prior"} & set(plain.model_dump())
    assert "prior" not in plain.model_dump_json()
    shifted = shift_prior(plain, np.arange(40) % 4 == 0, 0.01)
    assert shifted.model_dump()["calibration_prior"] == 0.25
    assert shifted.model_dump()["deployment_prior"] == 0.01
    back = type(plain).model_validate_json(shifted.model_dump_json())
    assert back == shifted
    assert parse_calibrator(shifted.model_dump()) == shifted
    assert (back.transform(logits) == shifted.transform(logits)).all()
    assert plain.transform(logits).sum(axis=1) == pytest.approx(1.0)


def test_the_ranking_stays() -> None:
    logits = np.random.default_rng(0).normal(size=(50, 2))
    plain = Identity()
    shifted = shift_prior(plain, HALF, 0.03)
    order = np.argsort(plain.transform(logits)[:, 1])
    assert (np.argsort(shifted.transform(logits)[:, 1]) == order).all()


@pytest.mark.parametrize("labels", [[1, 1, 1], [0, 0], [0, 1, 2], []])
def test_a_prior_needs_both_labels(labels: list[int]) -> None:
    with pytest.raises(DataError, match="needs a calibration set with both labels, 0 and 1"):
        shift_prior(Identity(), labels, 0.1)


def test_half_a_shift_or_three_classes_are_refused() -> None:
    for fields in ({"deployment_prior": 0.1}, {"calibration_prior": 0.1}):
        with pytest.raises(DataError, match="must be given together"):
            parse_calibrator({"method": "identity", **fields})
    for prior in (0.0, 1.0, float("nan")):
        with pytest.raises(ConfigError, match="a share between 0 and 1"):
            shift_prior(Identity(), HALF, prior)
    with pytest.raises(DataError, match="two classes, not for 3"):
        shift_prior(Identity(), HALF, 0.1).transform(np.zeros((2, 3)))


def test_marginal_sets_at_another_prior_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    shifted = shift_prior(Identity(), HALF, 0.1)
    with caplog.at_level(logging.WARNING, "roadwork"):
        warn_of_marginal_coverage(Identity(), "lac")
        warn_of_marginal_coverage(shifted, "mondrian")
        assert caplog.text == ""
        warn_of_marginal_coverage(shifted, "lac")
    assert "Use conformal.method: mondrian" in caplog.text
