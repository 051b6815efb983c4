"""The gate against hand-made evidence, and the paired comparison against a naive loop."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from roadwork.data.exposure import Exposure, IdSet, Use, identifiers
from roadwork.errors import DataError, GateFailed
from roadwork.evaluation.bootstrap import PairedDifference
from roadwork.evaluation.metrics import Metric
from roadwork.evidence import (
    ALL_CLASSES,
    Accepted,
    Champion,
    ClassCoverage,
    Evidence,
    Parity,
)
from roadwork.pairing import TestScores, UnpairableError, compare
from roadwork.promotion import Verdict, coverage_p_value, decide
from roadwork.settings import PromoteSettings
from tests.evaluation.report_case import make_report

DEFAULTS = PromoteSettings()


def difference(low: float, value: float = 0.0, high: float = 0.2) -> PairedDifference:
    return PairedDifference(
        metric="mcc",
        a=0.6,
        b=0.6 + value,
        difference=value,
        low=low,
        high=high,
        share=0.5,
        reason=None,
        n_groups=40,
        resamples=2000,
        skipped=0,
    )


def evidence(**changes: object) -> Evidence:
    sound: dict[str, object] = {
        "version": "7",
        "bundle_hash": "b" * 64,
        "registered_hash": "b" * 64,
        "figures_hash": "f" * 64,
        "bundle_figures_hash": "f" * 64,
        "synthetic": False,
        "auroc": Metric(value=0.9, low=0.8, high=0.95, n=100),
        "accuracy": Metric(value=0.85, n=100),
        "accepted": Accepted(n=80, right=72),
        "coverage": {
            "none": ClassCoverage(covered=36, n=40, target=0.9, points=99, rank=90),
            "roadwork": ClassCoverage(covered=55, n=60, target=0.9, points=99, rank=90),
        },
        "parity": Parity(accepted=True, detail="onnxruntime accepted"),
        "champion": None,
    }
    return Evidence.model_validate({**sound, **changes})


def failed(verdict: Verdict) -> list[str]:
    assert verdict.passed is not any(not check.passed for check in verdict.checks)
    return [check.name for check in verdict.checks if not check.passed]


def test_sound_evidence_passes_with_every_check_explained() -> None:
    verdict = decide(evidence(), DEFAULTS)
    verdict.require()
    assert [check.name for check in verdict.checks] == [
        "report belongs to the bundle",
        "engines answer alike",
        "AUROC above chance",
        "coverage of none",
        "coverage of roadwork",
        "not worse than the champion",
    ]
    assert verdict.checks[2].detail == (
        "0.9000, 95 % interval 0.8000 to 0.9500; its lower end is above 0.5"
    )
    assert "36 of 40 sets hold it (0.9000; promised 0.9" in verdict.checks[3].detail
    assert "accuracy of the 80 answered images is 0.9000, at least" in verdict.notes[0]


def test_same_evidence_gives_the_same_bytes() -> None:
    first = decide(evidence(), DEFAULTS).model_dump_json()
    again = decide(Evidence.model_validate_json(evidence().model_dump_json()), DEFAULTS)
    assert again.model_dump_json() == first
    assert Verdict.model_validate_json(first) == again


@pytest.mark.parametrize(
    ("changes", "check", "words"),
    [
        ({"registered_hash": "c" * 64}, "report belongs to the bundle", "exchanged"),
        ({"bundle_figures_hash": "e" * 64}, "report belongs to the bundle", "stale"),
        (
            {"parity": Parity(accepted=False, detail="cosine 0.2")},
            "engines answer alike",
            "cosine 0.2",
        ),
        (
            {"auroc": Metric(value=0.6, low=0.5, high=0.7, n=9)},
            "AUROC above chance",
            "must be above 0.5",
        ),
        (
            {"auroc": Metric(value=None, reason="only one class present", n=9)},
            "AUROC above chance",
            "only one class present",
        ),
        (
            {"auroc": Metric(value=0.9, reason="no interval: a single group", n=9)},
            "AUROC above chance",
            "a single group",
        ),
    ],
)
def test_each_fault_fails_its_own_check(changes: dict[str, object], check: str, words: str) -> None:
    verdict = decide(evidence(**changes), DEFAULTS)
    assert failed(verdict) == [check]
    with pytest.raises(GateFailed, match="version 7 is not promoted: 1 of 6 checks failed") as info:
        verdict.require()
    assert words in str(info.value)
    assert info.value.exit_code == 3


def test_coverage_p_value_by_hand() -> None:
    # Beta(1, 1) is uniform: 0..n hits are equally likely, so P(at most 1 of 3) = 2/4.
    seen = ClassCoverage(covered=1, n=3, target=0.5, points=1, rank=1)
    assert coverage_p_value(seen) == pytest.approx(0.5)
    # One test image is covered with probability rank / (points + 1) = 9/10.
    seen = ClassCoverage(covered=0, n=1, target=0.9, points=9, rank=9)
    assert coverage_p_value(seen) == pytest.approx(0.1)
    unbounded = ClassCoverage(covered=5, n=5, target=0.9, points=3, rank=None)
    assert coverage_p_value(unbounded) == 1.0


def test_coverage_p_value_nears_the_binomial_for_many_points() -> None:
    from scipy.stats import binom

    seen = ClassCoverage(covered=80, n=100, target=0.9, points=999_999, rank=900_000)
    assert coverage_p_value(seen) == pytest.approx(binom.cdf(80, 100, 0.9), rel=1e-3)


def test_images_that_resemble_each_other_count_for_fewer() -> None:
    # Ten images count as one: 3 of 10 with thresholds from 9 points, the 9th smallest.
    seen = ClassCoverage(covered=30, n=100, target=0.9, points=90, rank=82, design_effect=10.0)
    from scipy.stats import betabinom

    assert coverage_p_value(seen) == pytest.approx(float(betabinom.cdf(3, 10, 8.2, 0.9)))
    alone = seen.model_copy(update={"design_effect": 1.0})
    assert coverage_p_value(alone) < coverage_p_value(seen)


def test_few_conformal_points_excuse_what_many_do_not() -> None:
    few = ClassCoverage(covered=82, n=100, target=0.9, points=29, rank=27)
    many = ClassCoverage(covered=82, n=100, target=0.9, points=9999, rank=9000)
    assert failed(decide(evidence(coverage={"roadwork": few}), DEFAULTS)) == []
    assert failed(decide(evidence(coverage={"roadwork": many}), DEFAULTS)) == [
        "coverage of roadwork"
    ]
    assert (
        failed(decide(evidence(coverage={"roadwork": many}), PromoteSettings(confidence=0.9999)))
        == []
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(10, 200), st.floats(0.5, 0.99))
def test_coverage_p_value_is_a_rising_distribution(n: int, points: int, target: float) -> None:
    rank = min(points, max(1, int(np.ceil((points + 1) * target))))
    values = [
        coverage_p_value(ClassCoverage(covered=k, n=n, target=target, points=points, rank=rank))
        for k in range(n + 1)
    ]
    assert all(a <= b + 1e-12 for a, b in pairwise(values))
    assert values[-1] == pytest.approx(1.0)


def test_a_class_without_images_fails() -> None:
    seen = ClassCoverage(covered=0, n=0, target=0.9, points=99, rank=90)
    verdict = decide(evidence(coverage={"roadwork": seen}), DEFAULTS)
    assert failed(verdict) == ["coverage of roadwork"]


@pytest.mark.parametrize(("low", "passes"), [(-0.02, True), (-0.0201, False), (0.01, True)])
def test_the_champion_is_beaten_by_the_lower_end(low: float, passes: bool) -> None:
    rival = Champion(version="3", bundle_hash="c" * 64, difference=difference(low))
    assert decide(evidence(champion=rival), DEFAULTS).passed is passes


def test_without_a_pairing_somebody_must_say_why() -> None:
    rival = Champion(
        version="3", bundle_hash="c" * 64, difference=None, reason="tested on different images"
    )
    verdict = decide(evidence(champion=rival), DEFAULTS)
    assert failed(verdict) == ["not worse than the champion"]
    assert "tested on different images; needs `roadwork promote --accept-unpaired" in (
        verdict.checks[-1].detail
    )
    accepted = decide(evidence(champion=rival), DEFAULTS, unpaired_reason="a new city")
    assert accepted.passed
    assert accepted.checks[-1].detail.endswith("accepted all the same: a new city")


def test_an_unpaired_reason_does_not_excuse_a_measured_loss() -> None:
    rival = Champion(version="3", bundle_hash="c" * 64, difference=difference(-0.3, -0.2, -0.1))
    verdict = decide(evidence(champion=rival), DEFAULTS, unpaired_reason="please")
    assert failed(verdict) == ["not worse than the champion"]


def test_the_champions_own_bundle_needs_no_comparison() -> None:
    rival = Champion(version="3", bundle_hash="b" * 64, difference=None, reason="same bundle")
    assert decide(evidence(champion=rival), DEFAULTS).passed


def test_notes_are_honest_and_never_decide() -> None:
    verdict = decide(evidence(synthetic=True, accepted=Accepted(n=80, right=40)), DEFAULTS)
    assert verdict.passed
    assert "say nothing about real roads" in verdict.notes[0]
    assert "BELOW" in verdict.notes[1]
    none = decide(evidence(accepted=Accepted(n=0, right=0)), DEFAULTS)
    assert none.notes == ("every image is deferred to a person",)


def test_evidence_is_strict() -> None:
    with pytest.raises(ValidationError):
        evidence(extra=1)
    with pytest.raises(ValidationError):
        evidence(synthetic="yes")


def test_evidence_takes_the_figures_of_the_calibrated_model() -> None:
    report = make_report()
    conformal = report.conformal
    taken = Evidence.from_report(
        report,
        version="1",
        bundle_hash="b",
        registered_hash="b",
        figures_hash="f",
        bundle_figures_hash="f",
        parity=Parity(accepted=True, detail=""),
        thresholds={"none": (80, 73), "roadwork": (160, 145)},
        champion=None,
    )
    assert taken.auroc == report.metric("auroc")
    assert taken.coverage["roadwork"].covered == conformal.classes["roadwork"].covered
    assert taken.coverage["roadwork"].rank == 145
    assert taken.accepted.n == conformal.accepted
    assert report.with_gates(decide(taken, DEFAULTS).checks).gates is not None


def test_a_promise_for_all_classes_is_judged_over_all_classes() -> None:
    from roadwork.calibration.base import softmax
    from roadwork.conformal import SplitConformal
    from tests.evaluation.report_case import make_logits

    labels = np.arange(240) % 3 // 2
    fitted = SplitConformal.fit(softmax(make_logits(labels, 2.2, 1) / 1.5), labels, 0.1)
    report = make_report(conformal=fitted)
    taken = Evidence.from_report(
        report,
        version="1",
        bundle_hash="b",
        registered_hash="b",
        figures_hash="f",
        bundle_figures_hash="f",
        parity=Parity(accepted=True, detail=""),
        thresholds={ALL_CLASSES: (fitted.n, fitted.rank)},
        champion=None,
    )
    assert list(taken.coverage) == [ALL_CLASSES]
    assert taken.coverage[ALL_CLASSES].covered == report.conformal.marginal.covered
    assert taken.coverage[ALL_CLASSES].n == 240


def scores(n: int, seed: int, shift: float, start: int = 0, groups: int = 20) -> TestScores:
    rng = np.random.default_rng(seed)
    numbers = np.arange(start, start + n)
    labels = (numbers * 7 % 3 == 0).astype(np.int64)
    noise = rng.normal(0, 1, n)
    return TestScores(
        sample_ids=numbers.astype(np.uint64) + np.uint64(2**63),
        groups=np.array([f"drive-{number % groups}" for number in numbers]),
        labels=labels,
        probabilities=1 / (1 + np.exp(-(shift * (labels - 0.5) + noise))),
    )


NOTHING = (Exposure(), Exposure())


def test_scores_survive_the_table_exactly() -> None:
    first = scores(50, 1, 2.0)
    again = TestScores.from_table(first.to_table())
    for name in ("sample_ids", "groups", "labels", "probabilities"):
        assert np.array_equal(getattr(again, name), getattr(first, name))
    with pytest.raises(DataError, match="these are no test scores"):
        TestScores.from_table(first.to_table().drop_columns(["label"]))


def test_scores_are_checked() -> None:
    first = scores(4, 1, 2.0)
    with pytest.raises(DataError, match="an image twice"):
        TestScores(first.sample_ids[[0, 0, 1, 2]], first.groups, first.labels, first.probabilities)
    with pytest.raises(DataError, match="the shapes"):
        TestScores(first.sample_ids[:3], first.groups, first.labels, first.probabilities)


def test_compare_equals_a_naive_loop() -> None:
    candidate, champion = scores(200, 1, 2.5), scores(200, 2, 1.0)
    found = compare(candidate, champion, NOTHING, resamples=200, seed=3)
    rng = np.random.default_rng(3)
    names = np.unique(candidate.groups)
    drawn = rng.integers(len(names), size=(200, len(names)))
    values = []
    for row in drawn:
        rows = np.concatenate([np.flatnonzero(candidate.groups == names[g]) for g in row])
        values.append(
            mcc(candidate.labels[rows], candidate.probabilities[rows])
            - mcc(champion.labels[rows], champion.probabilities[rows])
        )
    assert found.difference == pytest.approx(
        mcc(candidate.labels, candidate.probabilities)
        - mcc(champion.labels, champion.probabilities)
    )
    assert found.difference is not None
    assert found.difference > 0
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(values, [2.5, 97.5])))


def mcc(labels: np.ndarray, probabilities: np.ndarray) -> float:
    return float(np.corrcoef(labels, probabilities > 0.5)[0, 1])


def test_compare_takes_common_images_alone_in_any_order() -> None:
    candidate, champion = scores(200, 1, 2.5), scores(200, 2, 1.0, start=80)
    found = compare(candidate, champion, NOTHING, resamples=100)
    part = [
        TestScores(s.sample_ids[rows], s.groups[rows], s.labels[rows], s.probabilities[rows])
        for s, rows in (
            (candidate, np.arange(80, 200)[::-1]),
            (champion, np.random.default_rng(0).permutation(120)),
        )
    ]
    assert compare(part[0], part[1], NOTHING, resamples=100) == found


def test_compare_refuses_what_would_be_unfair() -> None:
    candidate, champion = scores(200, 1, 2.5), scores(200, 2, 1.0)
    with pytest.raises(UnpairableError, match="tested on different images"):
        compare(candidate, scores(200, 2, 1.0, start=500), NOTHING)
    with pytest.raises(UnpairableError, match="come from 5 groups, fewer than 10"):
        compare(scores(200, 1, 2.5, groups=5), scores(200, 2, 1.0, groups=5), NOTHING)
    relabelled = TestScores(
        champion.sample_ids, champion.groups, 1 - champion.labels, champion.probabilities
    )
    with pytest.raises(
        UnpairableError, match="200 of 200 common test images have different labels"
    ):
        compare(candidate, relabelled, NOTHING)
    empty = np.array([], dtype=np.uint64)
    seen = Exposure({Use.TRAIN: IdSet.of(champion.sample_ids[:3], empty)})
    with pytest.raises(UnpairableError, match="the champion has already seen 3 of the common test"):
        compare(candidate, champion, (Exposure(), seen))
    touched = Exposure({Use.SELECT: IdSet.of(empty, identifiers(["drive-4"]))})
    with pytest.raises(
        UnpairableError, match=r"the candidate has already seen 0 .* and 1 of their"
    ):
        compare(candidate, champion, (touched, Exposure()))
