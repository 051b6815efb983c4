"""Slices: counts, the NULL slice, minimum counts, the worst gap."""

from __future__ import annotations

import json

import numpy as np
import pytest

from roadwork.errors import ConfigError, DataError
from roadwork.evaluation.bootstrap import bootstrap
from roadwork.evaluation.metrics import METRICS, ScoredSet
from roadwork.evaluation.slices import NULL, SliceReport, slice_metrics, slice_rows


def scored_set(labels: np.ndarray, right: np.ndarray, groups: np.ndarray) -> ScoredSet:
    """Rows that are right or wrong as told, with a confidence of .8."""
    p = np.where(right, np.where(labels == 1, 0.8, 0.2), np.where(labels == 1, 0.2, 0.8))
    return ScoredSet(np.stack([1 - p, p], axis=1), labels, groups=groups)


def day_and_night() -> tuple[ScoredSet, list[object]]:
    """Day: 60 rows, all right. Night: 40 rows, 30 right. Fog: 12 rows. No value: 40 negatives."""
    labels = np.r_[np.arange(60) % 2, np.arange(40) % 2, np.arange(12) % 2, np.zeros(40, dtype=int)]
    right = np.r_[np.ones(60), np.arange(40) % 4 > 0, np.zeros(12), np.ones(40)].astype(bool)
    groups = np.arange(152) // 4
    values: list[object] = [*["Light"] * 60, *["Dark"] * 40, *["Fog"] * 12]
    values += [None] * 20 + [float("nan")] * 10 + [""] * 10
    return scored_set(labels, right, groups), values


def test_slices_by_hand() -> None:
    scored, values = day_and_night()
    report = slice_metrics(scored, "weather", values, ["accuracy", "auroc"], resamples=50)
    found = {part.name: part for part in report.slices}
    assert [part.name for part in report.slices] == ["Light", "Dark", NULL, "Fog"]
    assert [(p.n, p.n_pos, p.n_groups) for p in report.slices] == [
        (60, 30, 15),
        (40, 20, 10),
        (40, 0, 10),
        (12, 6, 3),
    ]
    assert found["Light"].metrics["accuracy"].value == 1.0
    dark = found["Dark"].metrics["accuracy"]
    assert dark.value == 0.75 and dark.low is not None and dark.low <= 0.75
    assert found["Fog"].metrics["accuracy"].value is None
    assert found["Fog"].metrics["accuracy"].reason == "only 12 rows, 30 are needed"
    assert found[NULL].metrics["auroc"].reason == "only 0 rows of class 1, 10 are needed"
    assert report.overall["accuracy"].value == pytest.approx(130 / 152)


def test_a_slice_is_the_metric_of_its_rows() -> None:
    scored, values = day_and_night()
    report = slice_metrics(scored, "weather", values, resamples=40, seed=3)
    dark = next(part for part in report.slices if part.name == "Dark")
    alone = bootstrap(scored.take(np.arange(60, 100)), resamples=40, seed=3)
    assert dark.metrics == alone.metrics
    assert set(dark.metrics) == set(METRICS)


def test_worst_slice_and_its_gap() -> None:
    scored, values = day_and_night()
    report = slice_metrics(scored, "weather", values, ["accuracy", "brier"], resamples=5)
    worst = report.worst("accuracy")
    assert worst is not None and worst.name == "Dark"
    assert worst.gap == pytest.approx(130 / 152 - 0.75)
    # Lower is better for Brier: right rows cost .04, wrong ones .64.
    loss = report.worst("brier")
    assert loss is not None and loss.name == "Dark"
    overall = (130 * 0.04 + 22 * 0.64) / 152
    assert loss.gap == pytest.approx((0.75 * 0.04 + 0.25 * 0.64) - overall)


def test_no_worst_slice_without_values_or_direction() -> None:
    scored, values = day_and_night()
    small = slice_metrics(scored.take(np.arange(20)), "w", values[:20], ["accuracy"], resamples=5)
    assert small.worst("accuracy") is None
    report = slice_metrics(scored, "w", values, ["coverage"], resamples=5)
    with pytest.raises(ConfigError, match="no worse direction"):
        report.worst("coverage")
    with pytest.raises(ConfigError, match="not in this report"):
        report.worst("auroc")


@pytest.mark.parametrize(
    ("negatives", "positives", "enough"),
    [(20, 10, True), (10, 20, True), (21, 9, False), (9, 21, False), (19, 10, False)],
)
def test_minimum_counts(negatives: int, positives: int, enough: bool) -> None:
    labels = np.r_[np.zeros(negatives, dtype=int), np.ones(positives, dtype=int)]
    n = len(labels)
    scored = scored_set(labels, np.ones(n, dtype=bool), np.arange(n))
    report = slice_metrics(scored, "x", ["v"] * n, ["accuracy"], resamples=5)
    metric = report.slices[0].metrics["accuracy"]
    assert (metric.value is not None) == enough
    assert (metric.reason is None) == enough


def test_rows_of_slices_part_the_set() -> None:
    rows = slice_rows([3, None, True, 3, "", "b", float("nan"), np.str_("b")])
    assert list(rows) == [NULL, "3", "b", "True"]
    assert sorted(np.concatenate(list(rows.values())).tolist()) == list(range(8))
    assert rows[NULL].tolist() == [1, 4, 6]


def test_report_survives_json() -> None:
    scored, values = day_and_night()
    report = slice_metrics(scored, "weather", values, ["accuracy", "mcc"], resamples=5)
    text = report.model_dump_json()
    assert SliceReport.model_validate_json(text) == report
    assert SliceReport.model_validate(json.loads(text)) == report


def test_wrong_length_and_unknown_metric_are_refused() -> None:
    scored, values = day_and_night()
    with pytest.raises(DataError, match="weather has 3 values for 152 rows"):
        slice_metrics(scored, "weather", values[:3])
    with pytest.raises(ConfigError, match="unknown"):
        slice_metrics(scored, "weather", values, ["magic"])
