"""The cascade on the test set: figures against their definitions, the page, and no leaks."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from roadwork.calibration.fitted import FittedCalibrator
from roadwork.calibration.temperature import TemperatureScaling
from roadwork.cascade import judge
from roadwork.cascade.certified import CertifiedCascade
from roadwork.cascade.findings import findings, headline
from roadwork.cascade.fitted import FittedExitPolicy
from roadwork.cascade.policy import ExitPolicy, ExitPromise
from roadwork.cascade.record import CascadeReport, Verdict
from roadwork.cascade.stages import Cascade, CascadeNetwork, CascadeSpec
from roadwork.data.exposure import Exposure, Use
from roadwork.data.manifest import TestSet
from roadwork.errors import DataError, LeakageError
from roadwork.evaluation.bootstrap import paired_bootstrap
from roadwork.models.classifier import ClassifierSpec, attach_head
from roadwork.pairing import TestScores
from roadwork.settings import Settings, ViewSettings
from tests.cascade.chain import cascade_settings
from tests.data import made
from tests.training.made_photos import NAME, SIZE, small_backbone

N = 120
TEST = TestSet(made.table([made.row(number) for number in range(N)]))
RNG = np.random.default_rng(0)
SIGNS = np.where(TEST.labels == 1, 1.0, -1.0)


def logits(margin: np.ndarray) -> np.ndarray:
    return np.stack([-margin / 2, margin / 2], axis=1)


FIRST = logits(SIGNS * 1.5 + RNG.normal(0, 1.8, N))
SECOND = logits(SIGNS * 3.0 + RNG.normal(0, 2.2, N))
EXITS = ExitPolicy(
    low=0.2,
    high=0.8,
    answer_from=0.6,
    promise=ExitPromise(max_accuracy_loss=0.2, max_recall_loss=0.1, max_wrong=0.001),
    path="two_sided",
    n=400,
    votes=100,
    roadwork_votes=60,
    exited=0.5,
)


def certified(
    exits: ExitPolicy = EXITS, trains: str = "first", exposure: Exposure | None = None
) -> CertifiedCascade:
    network = CascadeNetwork(attach_head(small_backbone(), ViewSettings(tiles=9)))
    spec = ClassifierSpec(
        title="model",
        backbone=NAME,
        image_size=SIZE,
        views=network.network.views,
        adapter="none",
        origin="random weights",
    )
    whole = CascadeSpec.model_validate(
        {"title": "cascade", "classifier": spec, "objective": "gatekeeper", "trains": trains}
    )
    touched = exposure or Exposure()
    plain = FittedCalibrator(TemperatureScaling(temperature=1.0, at_bound=False), touched)
    return CertifiedCascade(
        Cascade(whole, network, touched), (plain, plain), FittedExitPolicy(exits, touched)
    )


@pytest.fixture(autouse=True)
def stages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks do not run here: both stages' logits are made up."""
    monkeypatch.setattr(judge, "predict_stages", lambda cascade, test, data: (FIRST, SECOND))


def settings() -> Settings:
    return cascade_settings()


def scores(table: np.ndarray) -> TestScores:
    return TestScores.of(TEST, table)


def report(**changes: object) -> CascadeReport:
    return judge.evaluate_cascade(certified(**changes), TEST, settings())  # pyright: ignore


def softmax(values: np.ndarray) -> np.ndarray:
    parts = np.exp(values)
    return parts / parts.sum(axis=1, keepdims=True)


def test_figures_are_those_of_the_decisions() -> None:
    found = report()
    p1, p2 = softmax(FIRST), softmax(SECOND)
    at_once = (p1[:, 1] <= 0.2) | (p1[:, 1] >= 0.8)
    decided = np.where(at_once, p1[:, 1] >= 0.8, p2[:, 1] > 0.5)
    right = decided == TEST.labels
    own = found.row("cascade")
    assert found.exited.value == pytest.approx(at_once.mean())
    assert own.views.value == pytest.approx(np.where(at_once, 1, 10).mean())
    assert own.metrics["accuracy"].value == pytest.approx(right.mean())
    assert own.metrics["recall"].value == pytest.approx(decided[TEST.labels == 1].mean())
    second = found.row("second").metrics["accuracy"]
    assert second.value == pytest.approx(((p2[:, 1] > 0.5) == TEST.labels).mean())
    less = own.less_second["accuracy"]
    assert less.value == pytest.approx(own.metrics["accuracy"].value - second.value)  # pyright: ignore
    deferred = ~at_once & (p2.max(axis=1) < 0.6)
    assert found.deferred.value == pytest.approx(deferred.mean())
    assert found.curve.views[0] == 10 and found.curve.views[-1] == 1


def test_differences_are_the_paired_bootstrap_over_groups() -> None:
    found = report()
    p1, p2 = softmax(FIRST), softmax(SECOND)
    at_once = (p1[:, 1] <= 0.2) | (p1[:, 1] >= 0.8)
    final = np.where(at_once[:, None], p1, p2)
    for name in ("accuracy", "mcc", "auroc"):
        expected = paired_bootstrap(
            name, p2, final, TEST.labels, TEST.groups, resamples=100, seed=settings().seed
        )
        less = found.row("cascade").less_second[name]
        assert (less.value, less.low, less.high) == pytest.approx(
            (expected.difference, expected.low, expected.high), abs=1e-9
        )


def test_the_promise_is_judged_with_one_vote_a_group() -> None:
    checks = {check.name: check for check in report().promise}
    p1, p2 = softmax(FIRST), softmax(SECOND)
    at_once = (p1[:, 1] <= 0.2) | (p1[:, 1] >= 0.8)
    truth = TEST.labels == 1
    harm = at_once & ((p1[:, 1] > 0.5) != truth) & ((p2[:, 1] > 0.5) == truth)
    wrong = ~at_once & (p2.max(axis=1) >= 0.6) & ((p2[:, 1] > 0.5) != truth)
    everyone = np.ones(N, dtype=bool)
    for name, event, counted in (
        ("max_accuracy_loss", harm, everyone),
        ("max_recall_loss", harm, truth),
        ("max_wrong", wrong, everyone),
    ):
        shares = [
            event[counted & (TEST.groups == group)].mean()
            for group in np.unique(TEST.groups[counted])
        ]
        assert checks[name].found.value == pytest.approx(np.mean(shares))
        assert checks[name].votes == len(shares)
    assert checks["max_accuracy_loss"].verdict == "kept"
    assert wrong.any()


@pytest.mark.parametrize(
    ("low", "value", "verdict"),
    [(0.0, 0.1, "kept"), (0.05, 0.11, "unclear"), (0.101, 0.2, "broken"), (0.1, 0.2, "unclear")],
)
def test_verdicts(low: float, value: float, verdict: Verdict) -> None:
    found = judge.Metric(value=value, low=low, high=1.0, n=10)
    assert judge._verdict(found, 0.1) == verdict


def test_stage_2_is_compared_with_the_classifier_it_should_be() -> None:
    p2 = softmax(SECOND)
    moved = p2.copy()
    moved[3] = moved[3, ::-1]
    same = judge.evaluate_cascade(certified(), TEST, settings(), scores(p2))
    assert same.agrees == pytest.approx(0.0, abs=1e-12)
    assert len(same.rows) == 3
    # One image in 120 may have crossed a step of the calibrator.
    stepped = judge.evaluate_cascade(certified(), TEST, settings(), scores(moved))
    assert stepped.agrees == pytest.approx(abs(p2[3, 1] - p2[3, 0]))
    other = softmax(SECOND * 1.1)
    with pytest.raises(DataError, match="not of one run: run both again"):
        judge.evaluate_cascade(certified(), TEST, settings(), scores(other))
    heads = judge.evaluate_cascade(certified(trains="heads"), TEST, settings(), scores(moved))
    assert heads.agrees is None
    row = heads.row("classifier")
    right = (moved[:, 1] > 0.5) == TEST.labels
    assert row.metrics["accuracy"].value == pytest.approx(right.mean())
    assert "another model than the classifier" in heads.html
    fewer = TestScores.of(TestSet(TEST.table.slice(0, 8)), p2[:8])
    with pytest.raises(DataError, match="other images"):
        judge.evaluate_cascade(certified(), TEST, settings(), fewer)


@pytest.mark.parametrize("use", [Use.TRAIN, Use.CALIBRATE, Use.CONFORMALISE])
def test_a_test_set_that_any_part_has_seen_is_refused(use: Use) -> None:
    with pytest.raises(LeakageError, match=rf"cannot evaluate .*\({use}\): {N} samples"):
        report(exposure=Exposure.of(use, TEST))
    seen = Exposure.of(use, TestSet(TEST.table.slice(0, 1)))
    whole = certified()
    one = replace(whole, exits=replace(whole.exits, exposure=seen))
    with pytest.raises(LeakageError, match="exit policy"):
        judge.evaluate_cascade(one, TEST, settings())
    with pytest.raises(LeakageError, match="but the train set"):
        judge.evaluate_cascade(whole, made.splits(made.good_parts()).train, settings())  # pyright: ignore


def test_equal_arguments_give_equal_bytes_and_json_keeps_them() -> None:
    found = report()
    assert report().to_json() == found.to_json()
    again = CascadeReport.model_validate_json(found.to_json())
    assert again == found and again.html == found.html


def test_names_for_a_tracker_are_stable_and_numbers() -> None:
    figures = report().figures
    assert all(name.startswith("cascade/") for name in figures)
    assert {
        "cascade/accuracy",
        "cascade/accuracy_less_second",
        "cascade/views",
        "cascade/exited",
        "cascade/recall_at_90_precision",
        "cascade/deferral_performance",
        "cascade/confidence_overlap",
        "cascade/risk_of_max_accuracy_loss",
        "cascade/feasible",
        "cascade/second_accuracy",
    } <= set(figures)
    assert all(np.isfinite(value) for value in figures.values())
    page = (Path(__file__).resolve().parents[2] / "docs" / "tracking.md").read_text()
    metric = "|".join(judge.COMPARED)
    for name in figures:
        short = re.sub(rf"^cascade/((?:first_|second_)?)(?:{metric})\b", r"cascade/\1METRIC", name)
        short = re.sub(rf"/(?:{metric})_less_second$", "/METRIC_less_second", short)
        short = re.sub(r"/risk_of_max_\w+$", "/risk_of_BOUND", short)
        assert f"`{short}`" in page, name


def test_the_page_stands_alone() -> None:
    page = report().html
    assert page.startswith("<!doctype html>")
    assert not re.search(r"""(?:src|href)=["'](?!#|data:)|url\(|@import|<script""", page)
    assert "default-src &#x27;none&#x27;" in page
    assert "prefers-color-scheme: dark" in page and "@media print" in page
    assert page.count("<svg") == 1 and 'role="img"' in page
    assert "neither a proof nor a refutation" in page
    assert EXITS.guarantee.partition(" more")[0][:60] in page
    assert "Generated scenes" in page


def test_what_comes_from_data_is_escaped() -> None:
    found = report().model_copy(update={"name": "<script>alert(1)</script>"})
    assert "<script>" not in found.html


def test_a_cascade_that_never_exits_says_so() -> None:
    never = EXITS.model_copy(update={"low": None, "high": None, "exited": 0.0})
    found = report(exits=never)
    assert headline(found).startswith("No exit could be certified")
    assert findings(found)[0].text == never.guarantee
    assert "would take" in found.html or "did too much harm" in found.html
    verdicts = {check.name: check.verdict for check in found.promise}
    assert verdicts["max_accuracy_loss"] == verdicts["max_recall_loss"] == "not judged"
    assert found.row("cascade").metrics == found.row("second").metrics
    assert found.row("cascade").views.value == 10
    assert found.figures["cascade/feasible"] == 0.0


def test_a_broken_promise_is_the_headline() -> None:
    tight = EXITS.promise.model_copy(update={"max_accuracy_loss": 1e-6, "max_recall_loss": None})
    wide = EXITS.model_copy(update={"promise": tight, "low": 0.45, "high": 0.55})
    found = report(exits=wide)
    assert found.promise[0].verdict == "broken"
    assert "the promise did not hold" in headline(found)


def exits_with(**promise: object) -> ExitPolicy:
    return EXITS.model_copy(update={"promise": EXITS.promise.model_copy(update=promise)})


def test_the_promise_on_what_is_passed_on_is_judged_without_exits_too() -> None:
    wrong = exits_with(max_wrong=1e-6).model_copy(
        update={"low": None, "high": None, "exited": 0.0, "answer_from": 0.5}
    )
    found = report(exits=wrong)
    assert found.promise[2].verdict == "broken"
    assert headline(found) == (
        "No exit could be certified: no image exits at stage 1, but the promise did not hold on "
        "the test images."
    )


def test_a_promise_held_only_if_all_of_it_was_judged() -> None:
    loose = exits_with(max_accuracy_loss=0.9, max_recall_loss=0.9, max_wrong=0.9)
    assert headline(report(exits=loose)).endswith("and the promise held on the test images.")
    found = report(exits=loose.model_copy(update={"answer_from": None}))
    assert [check.verdict for check in found.promise] == ["kept", "kept", "not judged"]
    assert headline(found).endswith(
        "; what could be judged of the promise held on the test images."
    )
    never = loose.model_copy(update={"low": None, "high": None, "exited": 0.0, "answer_from": None})
    assert headline(report(exits=never)).endswith("no image exits at stage 1.")


def test_the_page_says_how_deferred_images_are_counted() -> None:
    assert "goes to a person is counted above" in report().html
    assert "goes to a person is counted above" not in report(exits=exits_with(max_wrong=None)).html


def test_only_views_that_are_saved_are_good() -> None:
    good = findings(report())[0]
    assert (good.tone, good.short) == ("good", "it saves views")
    unused = EXITS.model_copy(update={"low": 1e-9, "high": 1 - 1e-9})
    found = report(exits=unused)
    assert found.exited.value == 0.0
    assert (findings(found)[0].tone, findings(found)[0].short) == ("unclear", "views")
