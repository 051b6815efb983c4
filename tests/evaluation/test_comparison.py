"""Comparison of runs: hand-computed differences, what must not be compared, and the pictures."""

from __future__ import annotations

import json
import math
import re
import xml.etree.ElementTree as ElementTree
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadwork.calibration.base import softmax
from roadwork.data.exposure import Exposure, Use
from roadwork.data.manifest import TestSet, TrainSet
from roadwork.errors import ConfigError
from roadwork.evaluation.comparison import COMPARED, ComparedRun, Row, compare_runs
from roadwork.evaluation.comparison_charts import learning_curves, nice
from roadwork.evaluation.comparison_page import render_html, render_svg
from roadwork.pairing import TestScores
from roadwork.training.curves import Curves, Point
from tests.evaluation.report_case import make_logits, make_report, make_table

START = 90_000
SEEN = Exposure.of(Use.TRAIN, TrainSet(make_table(300)))


def scores(right: list[bool], start: int = START) -> TestScores:
    """Answers that are right where it is said, on images in drives of six."""
    test = TestSet(make_table(len(right), start=start))
    sure = np.where(test.labels == 1, 0.9, 0.1)
    return TestScores.of(test, np.stack([1 - (p := np.where(right, sure, 1 - sure)), p], axis=1))


def compared(title: str, **parts: Any) -> ComparedRun:
    filled = {"about": f"run of {title}", "settings": {}, "facts": {}, "exposure": SEEN, **parts}
    return ComparedRun(title=title, **filled)


def curves_of(rate: float, steps: int = 40) -> Curves:
    curves = Curves()
    for step in range(1, steps + 1):
        curves.add(Point("train/loss", step, 1, math.exp(-rate * step), step / 10))
    for step in (0, steps):
        curves.add(Point("select/nll", step, 1, math.exp(-rate * step), step / 10))
    return curves


def test_differences_by_hand() -> None:
    """120 images in 20 drives; the second run errs once in every drive more than the first."""
    first = compared("a", scores=scores([True] * 6 * 20))
    second = compared("b", scores=scores(([False] + [True] * 5) * 20))
    third = compared("c", scores=scores(([True] * 4 + [False] * 2) * 20))
    found = compare_runs([first, second, third], ["accuracy"], resamples=300)
    assert [(one.run, one.images) for one in found.differences] == [("b", 120), ("c", 120)]
    for one, difference in zip(found.differences, (-1 / 6, -2 / 6), strict=True):
        pair = one.paired
        assert pair is not None
        assert pair.difference == pytest.approx(difference)
        # Every drive is alike, so that every resample gives the same difference.
        assert (pair.low, pair.high) == pytest.approx((difference, difference))
        assert (one.excludes_zero, one.better, pair.n_groups) == (True, False, 20)
        assert pair.share == pytest.approx(2 / 301)


def test_a_difference_that_may_be_luck_is_called_so() -> None:
    """Each run errs in its own two drives of twenty: the difference is exactly zero."""
    wrong = {2: 0, 7: 0, 11: 1, 15: 1}
    answers = [[wrong.get(row // 6) != run for row in range(120)] for run in range(2)]
    runs = [compared("a", scores=scores(answers[0])), compared("b", scores=scores(answers[1]))]
    (one,) = compare_runs(runs, ["accuracy"], resamples=400).differences
    assert one.paired is not None
    assert one.paired.difference == 0
    assert one.paired.low is not None and one.paired.high is not None
    assert one.paired.low < 0 < one.paired.high
    assert (one.excludes_zero, one.better) == (False, None)


def test_lower_is_better_where_it_is() -> None:
    runs = [
        compared("a", scores=scores(([False] + [True] * 5) * 20)),
        compared("b", scores=scores([True] * 120)),
    ]
    found = {one.metric: one for one in compare_runs(runs, resamples=200).differences}
    assert list(found) == list(COMPARED)
    brier = found["brier"].paired
    assert brier is not None
    assert brier.difference == pytest.approx(0.01 - (0.81 + 5 * 0.01) / 6)
    assert found["brier"].better is True
    assert found["accuracy"].better is True


def test_settings_facts_and_metrics_stand_side_by_side() -> None:
    report = make_report()
    runs = [
        compared("a", settings={"seed": "0", "x": "1"}, facts={"torch": "2.9"}, report=report),
        compared("b", settings={"seed": "0", "x": "2", "y": "3"}, facts={"torch": "2.9"}),
    ]
    found = compare_runs(runs, ["auroc", "coverage"])
    assert found.settings == (Row("x", ("1", "2")), Row("y", (None, "3")))
    assert found.facts == ()
    assert found.metrics["auroc"] == (report.metric("auroc"), None)
    assert found.same_test is None
    assert any(
        "No evaluation was kept for b: whether the test sets are the same is not known." in note
        for note in found.notes
    )
    reasons = {one.metric: one.reason for one in found.differences}
    assert reasons["auroc"] == "b has no test scores"
    assert "metric of prediction sets" in str(reasons["coverage"])
    tree = found.to_json()
    json.dumps(tree, allow_nan=False)
    assert tree["settings"]["y"] == {"a": None, "b": "3"}
    assert tree["runs"] == {"a": "run of a", "b": "run of b"}


def test_other_test_sets_are_called_not_comparable() -> None:
    one, other = make_report(), make_report(test=TestSet(make_table(240, start=200_000)))
    here, there = scores([True] * 120), scores([True] * 120, start=200_000)
    runs = [
        compared("a", report=one, scores=here),
        compared("b", report=other, scores=there),
    ]
    found = compare_runs(runs, ["mcc"])
    assert found.same_test is False
    assert "metrics of different runs are not comparable" in found.notes[0]
    assert found.differences[0].reason == "the two were tested on different images"
    assert found.differences[0].images == 0
    third = compare_runs([*runs, compared("d")], ["mcc"])
    assert third.same_test is False
    assert "No evaluation was kept for d." in third.notes
    assert not any("is not known" in note for note in third.notes)
    same = compare_runs([runs[0], compared("c", report=one, scores=here)], ["mcc"])
    assert same.same_test is True


def test_images_that_a_model_has_seen_are_not_compared_on() -> None:
    test = TestSet(make_table(120, start=START))
    seen = Exposure.of(Use.SELECT, test)
    runs = [compared("a", scores=scores([True] * 120))]
    runs.append(compared("b", scores=scores([True] * 120), exposure=seen))
    (one,) = compare_runs(runs, ["mcc"]).differences
    assert one.paired is None
    assert "the model of b has already seen 120 of the common test images" in str(one.reason)
    runs[1] = compared("b", scores=scores([True] * 120), exposure=None)
    (one,) = compare_runs(runs, ["mcc"]).differences
    assert one.reason == "it is not known what the model of b has seen"


def test_faults_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least two runs"):
        compare_runs([compared("a")])
    with pytest.raises(ConfigError, match="the run a is named twice"):
        compare_runs([compared("a"), compared("a")])
    with pytest.raises(ConfigError, match="aurok"):
        compare_runs([compared("a"), compared("b")], ["aurok"])


@given(
    low=st.floats(-1e6, 1e6, allow_subnormal=False),
    wide=st.floats(1e-6, 1e6, allow_subnormal=False),
)
def test_ticks_are_few_round_and_cover_the_range(low: float, wide: float) -> None:
    high = low + wide
    if high - low < 1e-9 * max(abs(low), abs(high)):
        return
    found = nice(low, high)
    assert 2 <= len(found) <= 6
    slack = 1e-6 * (high - low) + 1e-9
    assert found[0] <= low + slack
    assert found[-1] >= high - slack


def test_ticks_by_hand() -> None:
    assert nice(0.12, 0.93) == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert nice(0, 12) == [0, 5, 10, 15]
    assert nice(0, 10) == [0, 2, 4, 6, 8, 10]
    assert nice(-0.03, 0.01) == [-0.03, -0.02, -0.01, 0.0, 0.01]
    assert nice(2, 2) == [1.9, 1.95, 2.0, 2.05, 2.1]


def test_long_curves_are_drawn_as_mean_and_band() -> None:
    points = [Point("x", step, 1, float(step % 2), 0.0) for step in range(1, 1001)]
    points.append(Point("x", 1001, 1, math.nan, 0.0))
    panel = learning_curves("x", [(0, points)], ["a"]).inside
    (line,) = re.findall(r'<polyline points="([^"]+)"', panel)
    pairs = [tuple(map(float, pair.split(","))) for pair in line.split()]
    assert len(pairs) <= 120
    heights = {y for _, y in pairs[:-1]}
    assert max(heights) - min(heights) < 35, "the mean of a stretch is about one half"
    assert panel.count("<polygon") == 1
    short = learning_curves("x", [(0, points[:3]), (1, points[:2])], ["a", "b"]).inside
    assert short.count("<polyline") == 2 and "<polygon" not in short
    empty = learning_curves("x", [(0, points[-1:])], ["a"]).inside
    assert "No finite value was logged" in empty


@pytest.fixture(scope="module")
def made() -> list[ComparedRun]:
    runs = []
    for title, strength, rate in (("v1", 1.6, 0.02), ("v2", 2.4, 0.05), ("v3 <b>&", 1.6, 0.01)):
        test = TestSet(make_table(240, start=START))
        answers = softmax(make_logits(test.labels, strength, 2) / 1.5)
        runs.append(
            compared(
                title,
                settings={"finetune.learning_rate": str(rate)},
                report=make_report(strength=strength),
                scores=TestScores.of(test, answers),
                curves=curves_of(rate),
            )
        )
    return runs


def test_the_page_holds_every_chart_and_nothing_from_elsewhere(made: list[ComparedRun]) -> None:
    comparison = compare_runs(made, ["auroc", "brier"], resamples=200)
    page = render_html(comparison, made)
    assert page.count('class="chart"') == 1 + 2 * 2 + 2
    assert "http" not in page.replace("http-equiv", "")
    assert "v3 <b>&" not in page and "v3 &lt;b&gt;&amp;" in page
    assert "Compared with v1: v2 is better in AUROC, Brier score" in page
    assert "finetune.learning_rate" in page
    assert page == render_html(comparison, made)
    assert "prefers-color-scheme: dark" in page


def test_the_picture_is_whole_and_shows_the_figures(made: list[ComparedRun]) -> None:
    comparison = compare_runs(made, ["auroc"], resamples=200)
    text = render_svg(comparison, made)
    root = ElementTree.fromstring(text)
    space = "{http://www.w3.org/2000/svg}"
    assert root.tag == f"{space}svg"
    words = [node.text for node in root.iter(f"{space}text")]
    assert {"v1", "v2", "v3 <b>&", "train/loss", "select/nll", "AUROC", "Step"} <= set(words)
    assert "AUROC, difference to v1" in words
    tips = [node.text for node in root.iter(f"{space}title")]
    pair = comparison.differences[0].paired
    assert pair is not None and pair.difference is not None
    assert any(str(tip).startswith(f"v2: +{pair.difference:.3f}") for tip in tips)
    assert len(list(root.iter(f"{space}polyline"))) == 6
    height, width = float(root.attrib["height"]), float(root.attrib["width"])
    for group in root.iter(f"{space}g"):
        x, y = map(float, group.attrib["transform"][10:-1].split())
        assert 0 <= x < width and 0 <= y < height
