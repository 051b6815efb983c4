from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from roadwork.conformal import SplitConformal
from roadwork.data.exposure import Exposure, Use
from roadwork.data.manifest import TestSet
from roadwork.errors import ConfigError, DataError, LeakageError
from roadwork.evaluation.evaluate import build_report, settings_hash
from roadwork.evaluation.report import render_html
from roadwork.evaluation.verdict import findings, widest_gap
from roadwork.settings import parse_settings
from tests.evaluation.report_case import (
    GOLDEN,
    golden_figures,
    make_arguments,
    make_report,
    make_settings,
    make_table,
)


def assert_same(found: Any, expected: Any, where: str = "report") -> None:
    """Equal trees, floats to eight digits: other processors may round the last ones otherwise."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for key, value in expected.items():
            assert_same(found[key], value, f"{where}.{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for index, value in enumerate(expected):
            assert_same(found[index], value, f"{where}[{index}]")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-8, abs=1e-12), where
    else:
        assert found == expected, where


def test_golden_report() -> None:
    """``python -m tests.evaluation.report_case`` writes the golden figures anew, for review."""
    assert_same(golden_figures(), json.loads(GOLDEN.read_text(encoding="utf-8")))


def test_equal_arguments_give_equal_bytes() -> None:
    assert make_report(60).to_json() == make_report(60).to_json()


def test_where_the_images_lie_does_not_matter() -> None:
    table = make_table(30, start=90_000)
    place = table.column_names.index("uri")
    moved = table.set_column(place, table.schema.field("uri"), [["/elsewhere/x.jpg"] * 30])
    reports = [make_report(30, test=TestSet(rows)) for rows in (table, moved)]
    assert reports[0].metrics_json() == reports[1].metrics_json()


def four() -> dict[str, Any]:
    """Thirty images of five groups whose answers can be counted by hand.

    Labels: 0 where the number is divisible by 3, hence 10 negatives and 20 positives. Every
    answer is right with P = 0.9 except rows 0 (label 0, P(roadwork) = 0.8) and 1 (label 1,
    P(roadwork) = 0.4).
    """
    test = TestSet(make_table(30, start=90_000))
    positive = np.where(test.labels == 1, 0.9, 0.1)
    positive[0], positive[1] = 0.8, 0.4
    # 19 points: rank 18, so that the threshold is the second largest of the scores 0.1 and 0.65.
    scores = np.array([0.9] * 17 + [0.35] * 2)
    conformal = SplitConformal.fit(
        np.stack([1 - scores, scores], axis=1), np.ones(19, dtype=int), 0.1
    )
    return make_arguments(
        30,
        test=test,
        probabilities=np.stack([1 - positive, positive], axis=1),
        uncalibrated=None,
        baseline=None,
        conformal=conformal,
    )


def test_figures_counted_by_hand() -> None:
    report = build_report(**four())
    metrics = report.rows[0].metrics
    assert metrics["accuracy"].value == pytest.approx(28 / 30, rel=1e-9)
    assert metrics["recall"].value == pytest.approx(19 / 20)
    assert metrics["precision"].value == pytest.approx(19 / 20)
    # Pairs: row 0 beats only row 1, so of 200 pairs 1 is lost, with the 0.8 below the 19 others.
    assert metrics["auroc"].value == pytest.approx(199 / 200)
    assert metrics["brier"].value == pytest.approx((28 * 0.01 + 0.64 + 0.36) / 30)
    assert (report.test.n, report.test.n_positive, report.test.n_groups) == (30, 20, 5)
    # The threshold is 0.65: row 1 has {none, roadwork} as 1 - 0.4 = 0.6, row 0 only {roadwork}.
    sets = report.conformal
    assert (sets.marginal.covered, sets.marginal.n) == (29, 30)
    assert (sets.classes["none"].covered, sets.classes["none"].n) == (9, 10)
    assert (sets.classes["roadwork"].covered, sets.classes["roadwork"].n) == (20, 20)
    assert (sets.accepted, sets.accepted_accuracy.covered) == (29, 28)
    assert sets.defer == pytest.approx(1 / 30)
    assert sets.full == pytest.approx(1 / 30)
    assert not sets.per_class
    assert sets.marginal.band_low is not None
    assert sets.classes["none"].band_low is None
    assert (sets.marginal.points, sets.classes["none"].points) == (19, None)
    # Row 0 is the only miss among 29 sets of one label, and one of the 15 images of the phone.
    assert [(p.size, p.coverage.covered, p.coverage.n) for p in sets.sizes] == [
        (0, 0, 0),
        (1, 28, 29),
        (2, 1, 1),
    ]
    by_source = {p.name: p.coverage for p in sets.slices if p.column == "source"}
    assert {name: (c.covered, c.n) for name, c in by_source.items()} == {
        "dashcam": (15, 15),
        "phone": (14, 15),
    }
    # Clopper and Pearson: without a miss among n the lower end is (alpha / 2)^(1 / n).
    assert by_source["dashcam"].low == pytest.approx(0.025 ** (1 / 15))
    # Four pairs in a full drive of six: two negatives and four positives give eight.
    assert (report.within_group.n_pairs, report.within_group.n_groups) == (40, 5)
    assert sum(report.histogram.counts["none"]) == 10
    assert report.histogram.counts["roadwork"][8] == 1  # P = 0.4 lies in [0.40, 0.45)
    assert report.reliability.before is None
    assert sum(found.n for found in report.reliability.after) == 30


def test_worst_errors_are_the_wrong_answers_worst_first() -> None:
    asked: list[list[int]] = []

    def thumbnails(rows: list[int]) -> list[bytes | None]:
        asked.append(rows)
        return [None] * len(rows)

    report = build_report(**{**four(), "thumbnails": thumbnails})
    # Row 0 gave its true class 0.2, row 1 gave it 0.4.
    assert asked == [[0, 1]]
    assert [error.label for error in report.worst_errors] == ["none", "roadwork"]
    assert [error.prediction_set for error in report.worst_errors] == [
        ("roadwork",),
        ("none", "roadwork"),
    ]
    assert report.worst_errors[0].file == "drive-15000/frame-0.jpg"


def test_small_slices_have_a_reason_and_no_value() -> None:
    report = make_report(120)
    columns = {column.column: column for column in report.slices}
    dusk = {part.name: part for part in columns["time_of_day"].slices}["dusk"]
    assert dusk.metrics["auroc"].value is None
    assert "30 are needed" in str(dusk.metrics["auroc"].reason)
    assert {part.name for part in columns["weather"].slices} == {"clear", "rain", "fog", "NULL"}


def test_slices_are_set_against_the_rest_with_adjusted_p_values() -> None:
    """The phone's logits are noise, the dashcam's are not: one gap is real."""
    settings = make_settings(
        evaluate={"bootstrap": 2000, "slices": ["source", "time_of_day", "weather"], "worst": 0}
    )
    arguments = make_arguments(480, settings=settings)
    labels = arguments["test"].labels
    source = np.asarray(arguments["test"].column("source"))
    positive = np.where(labels == 1, 0.9, 0.1) + np.linspace(0, 0.05, len(labels))
    noise = np.random.default_rng(0).random(len(labels))
    positive = np.where(source == "phone", noise, positive)
    arguments["probabilities"] = np.stack([1 - positive, positive], axis=1)
    report = build_report(**arguments)
    worst = report.slice_tests[0]
    assert (worst.column, worst.name, worst.metric) == ("source", "phone", "auroc")
    assert worst.other == pytest.approx(1.0)
    assert worst.p is not None
    # Nine slices were asked for, and no p-value is smaller than this one.
    assert len(report.slice_tests) == 9
    assert worst.p_holm == pytest.approx(9 * worst.p)
    found = findings(report)[-1]
    assert found.tone == "bad"
    assert "Clearly worse on source 'phone', 240 images of 80 groups" in found.text
    assert found.text in render_html(report).replace("&#x27;", "'")
    # 9 * 2 / 201 is above 0.05: from 200 resamples the same gap could not be called clear.
    few = make_report(480)
    assert "From 200 resamples no part can reach an adjusted p below 0.09" in widest_gap(few).text


def test_columns_without_any_value_are_left_out_and_unknown_ones_refused() -> None:
    evaluate = {"bootstrap": 100, "slices": ["environment", "city"]}
    report = make_report(60, settings=make_settings(evaluate=evaluate))
    assert [column.column for column in report.slices] == ["city"]
    evaluate = {"bootstrap": 100, "slices": ["moon"]}
    with pytest.raises(ConfigError, match=r"no column moon.*weather"):
        make_report(60, settings=make_settings(evaluate=evaluate))


def test_one_class_gives_reasons_not_numbers() -> None:
    test = TestSet(make_table(36, start=90_000, labels=np.ones(36)))
    report = make_report(36, test=test)
    auroc = report.rows[0].metrics["auroc"]
    assert auroc.value is None
    assert auroc.reason == "only one class present"
    assert report.conformal.classes["none"].n == 0
    assert report.conformal.classes["none"].value is None
    assert {pair.metric: pair.difference for pair in report.comparison}["auroc"] is None


def test_test_data_that_was_fitted_on_is_refused() -> None:
    arguments = make_arguments(30)
    arguments["exposure"] = Exposure.of(Use.SELECT, arguments["test"])
    with pytest.raises(LeakageError, match=r"30 samples .*drive-15000"):
        build_report(**arguments)


def test_wrong_shapes_and_thumbnails_are_refused() -> None:
    arguments = make_arguments(30)
    with pytest.raises(DataError, match=r"probabilities must have shape \(30, 2\)"):
        build_report(**{**arguments, "probabilities": arguments["probabilities"][:29]})
    with pytest.raises(DataError, match="not finite"):
        build_report(**{**arguments, "probabilities": np.full((30, 2), np.nan)})
    with pytest.raises(DataError, match="JPEG of at most 12288 bytes"):
        build_report(**{**arguments, "thumbnails": lambda rows: [b"\xff\xd8" * 9000] * len(rows)})
    with pytest.raises(DataError, match="thumbnails were asked for"):
        build_report(**{**arguments, "thumbnails": lambda rows: []})


def test_data_summary_counts() -> None:
    data = make_report(60).data
    assert {name: count.n for name, count in data.roles.items()} == {
        "train": 300,
        "conformal": 240,
        "test": 60,
    }
    assert data.roles["test"].n_positive == 40
    assert sum(count.n for count in data.sources.values()) == 600
    assert (data.quarantine, data.exact_copies) == ({"truncated": 1, "empty": 1}, 3)


def test_settings_hash_ignores_paths_and_nothing_else() -> None:
    plain = parse_settings({})
    assert settings_hash(parse_settings({"runs": "somewhere"})) == settings_hash(plain)
    assert settings_hash(parse_settings({"seed": 1})) != settings_hash(plain)
    folders = [
        parse_settings({"data": {"sources": [{"kind": "image_folder", "root": root}]}})
        for root in ("here", "there")
    ]
    assert settings_hash(folders[0]) == settings_hash(folders[1]) != settings_hash(plain)
