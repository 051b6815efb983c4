"""The choice among calibrators: by hand, its rule, its folds, its record."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.special import expit

from roadwork.calibration import CALIBRATORS
from roadwork.calibration.base import from_margin, log_softmax
from roadwork.calibration.binning import expected_calibration_error
from roadwork.calibration.choice import (
    CalibratorComparison,
    compare_calibrators,
    grouped_standard_error,
)
from roadwork.calibration.fitted import fit_and_compare, fit_calibrator
from roadwork.calibration.folds import deal_groups, most_folds
from roadwork.errors import ConfigError, DataError
from tests.calibration.test_fitted import LOGITS, SPLITS, TRAINED


def drawn(n: int, seed: int, scale: float = 3.0, bend: float = 0.0):
    """Logits ``scale`` times too large (and bent), labels, and groups of four rows."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(scale=1.5, size=n)
    labels = (rng.random(n) < expit(truth)).astype(np.int64)
    odds = np.where(truth > 0, scale * truth * (1 + bend), scale * truth)
    return from_margin(odds), labels, np.arange(n) // 4


def test_the_figures_are_those_of_a_plain_loop() -> None:
    logits, labels, groups = drawn(400, 0)
    found = compare_calibrators(logits, labels, groups, methods=["identity", "platt"], seed=3)
    folds = deal_groups(labels, groups, 5, seed=3)
    table = np.empty((400, 2))
    for number in range(5):
        held = folds == number
        fitted = CALIBRATORS["platt"].fit(logits[~held], labels[~held])
        table[held] = fitted.transform(logits[held])
    platt = found.result("platt")
    assert platt is not None
    assert platt.nll == pytest.approx(-np.log(table[np.arange(400), labels]).mean(), abs=1e-12)
    assert platt.brier == pytest.approx(((table[:, 1] - labels) ** 2).mean(), abs=1e-12)
    assert platt.ece == pytest.approx(expected_calibration_error(table[:, 1], labels == 1))
    before = found.result("identity")
    assert before is not None
    plain = -log_softmax(logits)[np.arange(400), labels]
    assert before.nll == pytest.approx(plain.mean(), abs=1e-12)
    assert before.excess == pytest.approx(before.nll - platt.nll)  # pyright: ignore
    losses = plain + np.log(table[np.arange(400), labels])
    assert before.standard_error == pytest.approx(grouped_standard_error(losses, groups))
    assert (found.folds, found.n, found.n_groups) == (5, 400, 100)


def test_the_simplest_near_the_best_is_chosen() -> None:
    # Logits that are too large and nothing else: temperature is the truth.
    found = compare_calibrators(*drawn(2000, 10))
    assert found.chosen == "temperature"
    assert [result.method for result in found.results] == list(CALIBRATORS)
    # The two sides are bent differently: one number cannot mend that, two slopes can.
    bent = compare_calibrators(*drawn(4000, 2, scale=1.0, bend=3.0))
    assert bent.chosen == "beta"
    assert "within one standard error" in bent.why or "no simpler method" in bent.why


def test_what_is_calibrated_already_keeps_a_temperature_near_one_or_nothing() -> None:
    logits, labels, groups = drawn(600, 5, scale=1.0)
    found = compare_calibrators(logits, labels, groups)
    assert found.chosen in ("identity", "temperature")
    if found.chosen == "identity":
        assert all((result.excess or 0) >= 0 for result in found.results)


def test_no_method_is_chosen_that_is_worse_than_none() -> None:
    # Sure and right in every row, until a fold holds the only exception: every fit overreacts.
    rng = np.random.default_rng(8)
    truth = rng.normal(scale=0.7, size=40)
    labels = (rng.random(40) < expit(truth)).astype(np.int64)
    found = compare_calibrators(
        from_margin(truth), labels, np.arange(40), methods=["histogram", "isotonic"]
    )
    assert found.chosen == "identity"
    assert "no method has a smaller" in found.why


def test_a_named_method_is_taken_whatever_the_comparison_says() -> None:
    found = compare_calibrators(*drawn(200, 3), asked="isotonic", methods=["identity"])
    assert found.chosen == "isotonic" and found.why == "the settings name this method"
    assert [result.method for result in found.results] == ["identity", "isotonic"]


def test_no_calibration_can_be_named_for_a_set_of_one_class() -> None:
    logits, _, groups = drawn(40, 3)
    named = compare_calibrators(logits, np.ones(40, dtype=int), groups, asked="identity")
    assert named.chosen == "identity"
    platt = named.result("platt")
    assert platt is not None and "at least two classes" in str(platt.refused)


def test_methods_of_two_classes_are_refused_with_a_reason_for_three() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=300)
    logits = rng.normal(size=(300, 3)) + 2 * np.eye(3)[labels]
    found = compare_calibrators(logits, labels, np.arange(300))
    for name in ("platt", "beta"):
        result = found.result(name)
        assert result is not None and result.nll is None
        assert "two classes" in str(result.refused)
    assert CALIBRATORS[found.chosen].classes == "any"
    assert "two classes" in found.markdown


def test_too_few_groups_fall_back_to_one_number() -> None:
    logits, labels, _ = drawn(40, 4)
    found = compare_calibrators(logits, labels, np.zeros(40, dtype=int))
    assert found.chosen == "temperature" and found.folds == 0 and found.results == ()
    assert "only one group" in found.why
    two = compare_calibrators(logits, labels, np.arange(40) % 2)
    assert two.folds == 2 and two.results


def test_equal_arguments_give_equal_records_and_json_is_exact() -> None:
    first, second = (compare_calibrators(*drawn(200, 6)) for _ in range(2))
    assert first == second
    assert CalibratorComparison.model_validate_json(first.model_dump_json()) == first
    assert CalibratorComparison.model_validate(json.loads(first.model_dump_json())) == first
    assert first.markdown.count("\n|") == 1 + len(CALIBRATORS)


def test_folds_keep_groups_whole_and_spread_classes() -> None:
    rng = np.random.default_rng(1)
    groups = rng.integers(60, size=400)
    labels = (rng.random(400) < 0.3).astype(int)
    folds = deal_groups(labels, groups, 5, seed=0)
    assert all(len(np.unique(folds[groups == g])) == 1 for g in np.unique(groups))
    positives = np.bincount(folds, weights=labels, minlength=5)
    assert positives.min() >= 0.8 * positives.max()
    assert set(folds.tolist()) == set(range(5))
    assert (folds == deal_groups(labels, groups, 5, seed=0)).all()
    assert (folds != deal_groups(labels, groups, 5, seed=1)).any()
    assert most_folds(labels, groups) == len(np.unique(groups[labels == 1]))


def test_the_standard_error_over_groups_by_hand() -> None:
    # Two groups with sums of deviations +2 and -2 from the mean of 2.
    values, codes = np.array([3.0, 3.0, 1.0, 1.0]), np.array([0, 0, 1, 1])
    assert grouped_standard_error(values, codes) == pytest.approx(np.sqrt(2 * (4 + 4)) / 4)
    assert grouped_standard_error(values, np.zeros(4, dtype=int)) == np.inf
    rng = np.random.default_rng(0)
    single = rng.normal(size=500)
    wanted = single.std(ddof=1) / np.sqrt(500)
    assert grouped_standard_error(single, np.arange(500)) == pytest.approx(wanted)


def test_the_door_gives_the_choice_and_its_reasons() -> None:
    fitted, compared = fit_and_compare(TRAINED, SPLITS.calibrate, LOGITS, "auto")
    assert fitted.model.model_dump()["method"] == compared.chosen
    again = fit_calibrator(TRAINED, SPLITS.calibrate, LOGITS, "auto")
    assert again.content_hash == fitted.content_hash
    named, record = fit_and_compare(TRAINED, SPLITS.calibrate, LOGITS, "beta", 0.1)
    assert (record.asked, record.chosen) == ("beta", "beta")
    assert named.model.deployment_prior == 0.1
    direct = fit_calibrator(TRAINED, SPLITS.calibrate, LOGITS, "beta", 0.1)
    assert direct.content_hash == named.content_hash


def test_bad_arguments_are_refused() -> None:
    logits, labels, groups = drawn(40, 7)
    with pytest.raises(ConfigError, match="unknown calibrators magic"):
        compare_calibrators(logits, labels, groups, asked="magic")
    with pytest.raises(ConfigError, match="at least 2"):
        compare_calibrators(logits, labels, groups, folds=1)
    with pytest.raises(DataError, match="groups must have shape"):
        compare_calibrators(logits, labels, groups[:-1])
    with pytest.raises(DataError, match="at least two classes"):
        compare_calibrators(logits, np.ones(40, dtype=int), groups)
    with pytest.raises(ConfigError, match="unknown calibrator magic"):
        fit_calibrator(TRAINED, SPLITS.calibrate, LOGITS, "magic")
