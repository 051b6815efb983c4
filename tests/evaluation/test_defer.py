"""A defer threshold on the test set, counted by hand, and what the report says of it."""

from __future__ import annotations

import numpy as np
import pytest

from roadwork.evaluation.card import model_card
from roadwork.evaluation.defer import defer_record
from roadwork.evaluation.record import EvaluationReport
from roadwork.evaluation.report import render_html
from roadwork.evaluation.scored import ScoredSet
from roadwork.evaluation.verdict import findings
from roadwork.risk_control import DeferPromise, DeferThreshold
from tests.evaluation.report_case import make_full_report, make_report

PROMISE = DeferPromise(max_error=0.4, max_missed=0.5, delta=0.1)


def threshold(value: float | None, promise: DeferPromise = PROMISE) -> DeferThreshold:
    return DeferThreshold(
        threshold=value, promise=promise, n=100, groups=20, accepted=0.5, votes=15, needed=None
    )


def scored() -> ScoredSet:
    """Seven images of three drives, with P(roadwork) and label beside each other."""
    rows = [
        ("a", 0.9, 1),  # accepted and right
        ("a", 0.1, 1),  # accepted, and roadwork is missed
        ("a", 0.8, 0),  # accepted and wrong
        ("a", 0.6, 1),  # deferred
        ("b", 0.2, 0),  # accepted and right
        ("b", 0.85, 1),  # accepted and right
        ("c", 0.5, 0),  # deferred, with its whole drive
    ]
    groups, scores, labels = zip(*rows, strict=True)
    positive = np.array(scores)
    table = np.stack([1 - positive, positive], axis=1)
    return ScoredSet(table, np.array(labels), groups=np.array(groups))


def test_figures_counted_by_hand() -> None:
    found = defer_record(scored(), threshold(0.8))
    assert found.accepted == pytest.approx(5 / 7)
    assert (found.right.covered, found.right.n) == (3, 5)
    assert (found.found.covered, found.found.n) == (2, 3)
    # Drive a: 2 of 3 wrong; drive b: none of 2; drive c accepts nothing and has no vote.
    assert (found.groups, found.group_error) == (2, pytest.approx(1 / 3))
    # Of roadwork, drive a misses 1 of 2 and drive b none of 1.
    assert (found.roadwork_groups, found.group_missed) == (2, pytest.approx(1 / 4))
    assert (found.max_error, found.max_missed, found.delta) == (0.4, 0.5, 0.1)


def test_a_confidence_at_the_threshold_is_accepted() -> None:
    assert defer_record(scored(), threshold(0.9)).right.n == 2
    assert defer_record(scored(), threshold(0.9 + 1e-9)).right.n == 0


def test_without_a_threshold_everything_is_deferred() -> None:
    found = defer_record(scored(), threshold(None))
    assert (found.accepted, found.groups, found.right.n, found.right.value) == (0.0, 0, 0, None)
    assert (found.group_error, found.group_missed) == (None, None)
    assert "every answer is deferred" in found.guarantee


@pytest.fixture(scope="module")
def report() -> EvaluationReport:
    return make_full_report(120)


def changed(report: EvaluationReport, **values: object) -> EvaluationReport:
    assert report.defer is not None
    return report.model_copy(update={"defer": report.defer.model_copy(update=values)})


def test_the_page_and_the_card_say_what_was_promised_and_done(report: EvaluationReport) -> None:
    assert report.defer is not None
    assert report.defer.threshold is not None
    assert EvaluationReport.from_json(report.to_json()) == report
    wrong = report.defer.right.n - report.defer.right.covered
    page = render_html(report)
    assert "A threshold with a promise" in page
    assert f"{wrong} of {report.defer.right.n}" in page
    assert "It is not in the bundle" in page
    card = model_card(report, title="case", licence_notes=["Code: Apache-2.0."])
    assert "\n## Defer threshold\n" in card


def test_nothing_is_said_where_no_threshold_was_asked_for() -> None:
    report = make_report(30)
    assert report.defer is None
    assert "A threshold with a promise" not in render_html(report)
    assert "Defer threshold" not in model_card(report, title="case", licence_notes=["Code."])


def test_infeasible_is_an_answer() -> None:
    report = make_full_report(120, max_error=0.03)
    assert report.defer is not None
    assert report.defer.threshold is None
    page = render_html(report)
    assert "no confidence could be certified" in page
    assert "Promised: at most" not in page
    finding = findings(report)[4]
    assert (finding.tone, finding.short) == ("unclear", "no defer threshold could be certified")
    assert f"About {report.defer.needed} groups would do" in finding.text


@pytest.mark.parametrize(
    ("error", "missed", "tone"),
    [(0.2, 0.4, "good"), (0.21, 0.0, "unclear"), (0.0, 0.41, "unclear"), (None, None, "unclear")],
)
def test_the_verdict_looks_at_both_bounds(
    report: EvaluationReport, error: float | None, missed: float | None, tone: str
) -> None:
    found = findings(changed(report, group_error=error, group_missed=missed))[4]
    assert found.tone == tone


def test_a_bound_that_was_not_asked_for_does_not_count(report: EvaluationReport) -> None:
    alone = changed(report, group_error=0.1, group_missed=0.9, max_missed=None)
    assert findings(alone)[4].tone == "good"
    assert "not promised" in render_html(alone)
