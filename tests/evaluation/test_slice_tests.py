"""Gaps between slices and changes between models: by hand, against a naive loop, with Holm."""

from __future__ import annotations

import numpy as np
import pytest

from roadwork.errors import ConfigError, DataError
from roadwork.evaluation.bootstrap import resample_weights
from roadwork.evaluation.holm import holm
from roadwork.evaluation.metrics import METRICS, ScoredSet
from roadwork.evaluation.slice_tests import SliceTest, slice_changes, slice_gaps


def judged(right: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> ScoredSet:
    p = np.where(right, np.where(labels == 1, 0.8, 0.2), np.where(labels == 1, 0.2, 0.8))
    return ScoredSet(np.stack([1 - p, p], axis=1), labels, groups=groups)


LABELS = np.arange(240) % 2
GROUPS = np.arange(240) // 4
WEATHER = ["dry"] * 120 + ["rain"] * 80 + ["fog"] * 30 + ["snow"] * 10
LIGHT = (["day"] * 3 + ["night"]) * 60
GOOD = judged(np.ones(240, dtype=bool), LABELS, GROUPS)
# Wrong in every second group of the rain, and in two rows of the dry weather.
WRONG = np.isin(np.arange(240), [0, 7]) | ((np.arange(240) // 4 % 2 == 0) & (np.arange(240) >= 120))
RIGHT = ~(WRONG & (np.arange(240) < 200))
MIXED = judged(RIGHT, LABELS, GROUPS)


def test_gaps_by_hand_and_against_a_naive_loop() -> None:
    found = slice_gaps(MIXED, {"weather": WEATHER}, "accuracy", resamples=150, seed=2)
    rain, dry, snow = (next(t for t in found if t.name == n) for n in ("rain", "dry", "snow"))
    assert found[0] is rain
    assert (rain.n, rain.n_pos, rain.n_groups) == (80, 40, 20)
    assert rain.value == 0.5 and rain.other == pytest.approx(158 / 160)
    assert rain.worse == pytest.approx(158 / 160 - 0.5) == -(rain.difference or 0)
    inside = np.array([w == "rain" for w in WEATHER])
    (weights,) = resample_weights(MIXED, 150, 2)
    hits = RIGHT.astype(float)
    loop = [
        (w * inside) @ hits / (w * inside).sum() - (w * ~inside) @ hits / (w * ~inside).sum()
        for w in weights
    ]
    low, high = np.percentile(loop, [2.5, 97.5])
    assert (rain.low, rain.high) == (pytest.approx(low), pytest.approx(high))
    assert snow.value is None and snow.reason == "only 10 rows, 30 are needed"
    assert dry.worse is not None and dry.worse < 0
    ordered = [next(t for t in found if t.name == n) for n in ("dry", "rain", "fog", "snow")]
    assert [t.p_holm for t in ordered] == holm([t.p for t in ordered])
    assert rain.p_holm == pytest.approx(min(1, 4 * (rain.p or 0)))
    assert SliceTest.model_validate_json(rain.model_dump_json()) == rain


def test_lower_is_better_turns_the_sign() -> None:
    rain = slice_gaps(MIXED, {"weather": WEATHER}, "brier", resamples=20)[0]
    assert rain.name == "rain" and rain.worse == rain.difference and (rain.worse or 0) > 0
    neither = slice_gaps(MIXED, {"weather": WEATHER}, "brier_uncertainty", resamples=20)
    assert all(t.worse is None for t in neither)


def test_changes_are_paired_and_adjusted_over_all_columns() -> None:
    columns = {"weather": WEATHER, "light": LIGHT}
    found = slice_changes(GOOD, MIXED, columns, "accuracy", resamples=200)
    rain = found[0]
    assert (rain.column, rain.name) == ("weather", "rain")
    assert (rain.value, rain.other, rain.worse) == (0.5, 1.0, 0.5)
    assert rain.low is not None and rain.high is not None and rain.high < 0
    assert rain.p_holm == pytest.approx(6 * (rain.p or 0))
    same = slice_changes(MIXED, MIXED, columns, "auroc", resamples=50)
    assert all(t.difference == 0 and t.p == 1.0 for t in same if t.value is not None)


@pytest.mark.parametrize("metric", [n for n, i in METRICS.items() if "sets" not in i.needs])
def test_every_metric_can_be_compared_on_slices(metric: str) -> None:
    found = slice_changes(GOOD, MIXED, {"light": LIGHT}, metric, resamples=10)
    for test in found:
        inside = np.array([value == test.name for value in LIGHT])
        wanted = METRICS[metric].compute(MIXED.take(inside))
        if test.value is None:
            assert test.reason
        else:
            assert test.value == pytest.approx(wanted.value, abs=1e-12)


def test_what_cannot_be_judged_says_why() -> None:
    whole = slice_gaps(MIXED, {"x": ["a"] * 240}, "accuracy", resamples=5)
    assert whole[0].reason == "the rest of the set: there is none"
    most = slice_gaps(MIXED, {"x": ["a"] * 230 + ["b"] * 10}, "accuracy", resamples=5)
    assert "the rest of the set: only 10 rows" in str(most[0].reason)
    sets = slice_gaps(MIXED, {"light": LIGHT}, "coverage", resamples=5)
    assert all(t.reason == "no prediction sets were given" for t in sets)
    with pytest.raises(DataError, match="light has 3 values for 240 rows"):
        slice_gaps(MIXED, {"light": LIGHT[:3]}, "accuracy")
    with pytest.raises(DataError, match="not judged on the same rows"):
        slice_changes(GOOD, GOOD.take(np.arange(100)), {}, "accuracy")
    with pytest.raises(ConfigError, match="unknown"):
        slice_gaps(MIXED, {"light": LIGHT}, "magic")
