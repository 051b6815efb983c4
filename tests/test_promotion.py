"""The gate against hand-made evidence, and the paired comparison against a naive loop."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from roadwork.data.exposure import Exposure, IdSet, Use, identifiers
from roadwork.data.manifest import TestSet
from roadwork.errors import DataError, GateFailed
from roadwork.evaluation.evaluate import test_hash as hash_of_test
from roadwork.evaluation.metrics import Metric
from roadwork.evaluation.slice_tests import SliceTest
from roadwork.evidence import (
    ALL_CLASSES,
    Accepted,
    Champion,
    ClassCoverage,
    Comparison,
    Evidence,
    Latency,
    Opening,
    Parity,
    Seen,
)
from roadwork.pairing import TestScores, UnpairableError, compare
from roadwork.promotion import Verdict, coverage_p_value, decide
from roadwork.settings import PromoteSettings
from tests.evaluation.report_case import make_report, make_table

DEFAULTS = PromoteSettings()


def comparison(low: float | None, **changes: object) -> Comparison:
    known: dict[str, object] = {
        "figure": "mcc",
        "candidate": 0.7,
        "champion": 0.6,
        "gain": 0.1,
        "low": low,
        "level": 0.025,
        "margin": 0.0,
        "n_groups": 40,
        "resamples": 2000,
        "p": 0.025,
    }
    return Comparison.model_validate({**known, **changes})


def slice_test(worse: float, p: float | None, name: str = "night") -> SliceTest:
    return SliceTest(
        column="time_of_day",
        name=name,
        n=80,
        n_pos=40,
        n_groups=20,
        metric="balanced_accuracy",
        value=0.9 - worse,
        other=0.9,
        difference=-worse,
        worse=worse,
        p=p,
        p_holm=p,
        reason=None if p is not None else "only 10 rows, 30 are needed",
    )


def rival(low: float = 0.01, *others: Comparison, **changes: object) -> Champion:
    opening = Opening(
        test_hash="t" * 64,
        candidate="b" * 64,
        champion="c" * 64,
        figure="mcc",
        place=1,
        level=0.025,
    )
    known: dict[str, object] = {
        "version": "3",
        "bundle_hash": "c" * 64,
        "opening": opening,
        "comparisons": (comparison(low), *others),
    }
    return Champion.model_validate({**known, **changes})


def evidence(**changes: object) -> Evidence:
    sound: dict[str, object] = {
        "settings": DEFAULTS,
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
        "ece": Metric(value=0.05, n=100),
        "megabytes": 12.0,
        "latency": None,
        "test_hash": "t" * 64,
        "scores_fault": None,
        "seen": (),
        "judged": 1,
        "champion": None,
    }
    return Evidence.model_validate({**sound, **changes})


def failed(verdict: Verdict) -> list[str]:
    assert verdict.passed is not any(not check.passed for check in verdict.checks)
    return [check.name for check in verdict.checks if not check.passed]


def test_sound_evidence_passes_with_every_check_explained() -> None:
    verdict = decide(evidence())
    verdict.require()
    assert [check.name for check in verdict.checks] == [
        "report belongs to the bundle",
        "engines answer alike",
        "never saw the test set",
        "AUROC above chance",
        "ECE at most 0.15",
        "coverage of none",
        "coverage of roadwork",
        "better than the champion",
    ]
    assert (verdict.checks[3].value, verdict.checks[3].bar) == (0.8, 0.5)
    assert verdict.checks[3].detail == (
        "0.9000, 95 % interval 0.8000 to 0.9500; its lower end is above 0.5"
    )
    assert "36 of 40 sets hold it (0.9000; promised 0.9" in verdict.checks[5].detail
    assert verdict.checks[5].bar == pytest.approx(0.05)
    assert "accuracy of the 80 answered images is 0.9000, at least" in verdict.notes[0]


def test_same_evidence_gives_the_same_bytes() -> None:
    first = decide(evidence()).model_dump_json()
    again = decide(Evidence.model_validate_json(evidence().model_dump_json()))
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
        (
            {"seen": (Seen(use="train", samples=3, groups=2),)},
            "never saw the test set",
            "exposed to 3 of its images and 2 of its groups (use: train)",
        ),
        (
            {"scores_fault": "its run has no scores"},
            "never saw the test set",
            "not known: its run has no scores",
        ),
        ({"ece": Metric(value=0.2, n=9)}, "ECE at most 0.15", "0.2000 on average"),
        ({"ece": Metric(value=None, reason="no such metric", n=9)}, "ECE at most 0.15", "no such"),
    ],
)
def test_each_fault_fails_its_own_check(changes: dict[str, object], check: str, words: str) -> None:
    verdict = decide(evidence(**changes))
    assert failed(verdict) == [check]
    with pytest.raises(GateFailed, match="version 7 is not promoted: 1 of 8 checks failed") as info:
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
    lenient = PromoteSettings(confidence=0.9999)
    assert failed(decide(evidence(coverage={"roadwork": few}))) == []
    assert failed(decide(evidence(coverage={"roadwork": many}))) == ["coverage of roadwork"]
    assert failed(decide(evidence(coverage={"roadwork": many}, settings=lenient))) == []


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
    verdict = decide(evidence(coverage={"roadwork": seen}))
    assert failed(verdict) == ["coverage of roadwork"]


@pytest.mark.parametrize(("low", "passes"), [(-0.01, False), (0.0, False), (1e-9, True)])
def test_the_champion_is_beaten_by_the_lower_bound(low: float, passes: bool) -> None:
    verdict = decide(evidence(champion=rival(low), judged=2))
    assert verdict.passed is passes
    check = verdict.checks[-2]
    assert (check.name, check.value, check.bar) == ("better than the champion", low, 0.0)
    assert "gain +0.1000 over 40 groups" in check.detail
    assert verdict.opening == rival().opening
    assert verdict.notes[-2] == "this test set has judged 2 candidates, this one included"
    assert "comparison 1 on it, at the level 0.025: all comparisons" in verdict.notes[-1]
    each = PromoteSettings(spending="candidate")
    assert "however many" in decide(evidence(champion=rival(low), settings=each)).notes[-1]


def test_a_gain_that_chance_gives_too_is_none() -> None:
    lucky = Champion.model_validate(
        {**dict(rival(0.05)), "comparisons": (comparison(0.05, p=0.0251),)}
    )
    verdict = decide(evidence(champion=lucky))
    assert failed(verdict) == ["better than the champion"]
    assert "probability 0.0251, which must be at most this level" in verdict.checks[-2].detail


@pytest.mark.parametrize(("low", "passes"), [(-0.02, True), (-0.0201, False), (0.01, True)])
def test_another_figure_may_lose_no_more_than_its_margin(low: float, passes: bool) -> None:
    other = comparison(low, figure="auroc", margin=0.02)
    verdict = decide(evidence(champion=rival(0.01, other)))
    assert failed(verdict) == ([] if passes else ["AUROC not worse than the champion's"])
    unknown = comparison(None, figure="auroc", margin=0.02, reason="too few groups")
    verdict = decide(evidence(champion=rival(0.01, unknown)))
    assert failed(verdict) == ["AUROC not worse than the champion's"]
    assert "too few groups" in verdict.checks[-2].detail


def test_a_broken_slice_refuses_a_better_mean() -> None:
    broken = (slice_test(0.2, 0.04), slice_test(0.3, 0.06, "dusk"), slice_test(0.4, None, "dawn"))
    verdict = decide(evidence(champion=rival(0.05, slices=broken)))
    assert failed(verdict) == ["no slice worse than the champion's"]
    assert "fell in 1 of 2 slices: time_of_day = night (0.9000 to 0.7000" in (
        verdict.checks[-1].detail
    )
    assert verdict.checks[-1].value == pytest.approx(0.2)
    tolerant = PromoteSettings(slice_loss=0.25)
    assert decide(evidence(champion=rival(0.05, slices=broken), settings=tolerant)).passed
    better = (slice_test(-0.2, 0.001), slice_test(0.4, None, "dawn"))
    verdict = decide(evidence(champion=rival(0.05, slices=better)))
    assert verdict.passed
    assert "in 1 slices (Holm, 0.05); 1 are too small to be judged" in verdict.checks[-1].detail
    none = decide(evidence(champion=rival(0.05)))
    assert "nothing was shown of any" in none.checks[-1].detail


def test_budgets_are_checks_where_they_are_set() -> None:
    tight = PromoteSettings(max_megabytes=11.9, max_latency_ms=20.0)
    slow = Latency(milliseconds=20.5, answers=12, engine="onnxruntime")
    assert failed(decide(evidence(settings=tight, latency=slow))) == [
        "size budget",
        "latency budget",
    ]
    wide = PromoteSettings(max_megabytes=12.0, max_latency_ms=20.5)
    verdict = decide(evidence(settings=wide, latency=slow))
    assert verdict.passed
    assert "the median of 12 answers by onnxruntime" in verdict.checks[-2].detail
    assert failed(decide(evidence(settings=wide))) == ["latency budget"]
    assert decide(evidence(settings=PromoteSettings(max_ece=None), ece=Metric(value=1, n=9))).passed


def test_without_a_pairing_somebody_must_say_why() -> None:
    apart = Champion(version="3", bundle_hash="c" * 64, reason="tested on different images")
    verdict = decide(evidence(champion=apart))
    assert failed(verdict) == ["better than the champion"]
    assert "tested on different images; needs `roadwork promote --accept-unpaired" in (
        verdict.checks[-1].detail
    )
    accepted = decide(evidence(champion=apart), unpaired_reason="a new city")
    assert accepted.passed
    assert accepted.checks[-1].detail.endswith("accepted all the same: a new city")
    leaky = evidence(champion=apart, seen=(Seen(use="select", samples=0, groups=1),))
    assert failed(decide(leaky, unpaired_reason="please")) == ["never saw the test set"]


def test_an_unpaired_reason_does_not_excuse_a_measured_loss() -> None:
    verdict = decide(evidence(champion=rival(-0.3)), unpaired_reason="please")
    assert failed(verdict) == ["better than the champion"]


def test_the_champions_own_bundle_needs_no_comparison() -> None:
    same = Champion(version="3", bundle_hash="b" * 64, reason="same bundle")
    assert decide(evidence(champion=same)).passed


def test_notes_are_honest_and_never_decide() -> None:
    verdict = decide(evidence(synthetic=True, accepted=Accepted(n=80, right=40)))
    assert verdict.passed
    assert "say nothing about real roads" in verdict.notes[0]
    assert "BELOW" in verdict.notes[1]
    none = decide(evidence(accepted=Accepted(n=0, right=0)))
    assert none.notes == (
        "every image is deferred to a person",
        "this test set has judged 1 candidate, this one included",
    )


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
        settings=DEFAULTS,
        version="1",
        bundle_hash="b",
        registered_hash="b",
        figures_hash="f",
        bundle_figures_hash="f",
        parity=Parity(accepted=True, detail=""),
        thresholds={"none": (80, 73), "roadwork": (160, 145)},
        megabytes=1.0,
        latency=None,
        scores_fault=None,
        seen=(),
        judged=1,
        champion=None,
    )
    assert taken.auroc == report.metric("auroc")
    assert taken.coverage["roadwork"].covered == conformal.classes["roadwork"].covered
    assert taken.coverage["roadwork"].rank == 145
    assert taken.accepted.n == conformal.accepted
    assert report.with_gates(decide(taken).checks).gates is not None


def test_a_promise_for_all_classes_is_judged_over_all_classes() -> None:
    from roadwork.calibration.base import softmax
    from roadwork.conformal import SplitConformal
    from tests.evaluation.report_case import make_logits

    labels = np.arange(240) % 3 // 2
    fitted = SplitConformal.fit(softmax(make_logits(labels, 2.2, 1) / 1.5), labels, 0.1)
    report = make_report(conformal=fitted)
    taken = Evidence.from_report(
        report,
        settings=DEFAULTS,
        version="1",
        bundle_hash="b",
        registered_hash="b",
        figures_hash="f",
        bundle_figures_hash="f",
        parity=Parity(accepted=True, detail=""),
        thresholds={ALL_CLASSES: (fitted.n, fitted.rank)},
        megabytes=1.0,
        latency=None,
        scores_fault=None,
        seen=(),
        judged=1,
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
    named = replace(first, slices={"weather": ("rain", None) * 25})
    assert TestScores.from_table(named.to_table()).slices == named.slices
    with pytest.raises(DataError, match="these are no test scores"):
        TestScores.from_table(named.to_table().rename_columns({"slice.weather": "weather"}))
    with pytest.raises(DataError, match="these are no test scores"):
        TestScores.from_table(first.to_table().drop_columns(["label"]))


def test_scores_of_a_test_set_keep_its_hash_and_its_slices() -> None:
    test = TestSet(make_table(60, start=500))
    kept = TestScores.of(test, np.full((60, 2), 0.5))
    assert kept.test_hash == hash_of_test(test)
    assert TestScores.from_table(kept.to_table()).test_hash == kept.test_hash
    assert sorted(kept.slices) == ["city", "source", "time_of_day", "weather"]
    assert kept.slices["weather"][20:24] == (None, None, "fog", "fog")
    assert kept._take(np.array([23, 20])).slices["weather"] == ("fog", None)
    with pytest.raises(DataError, match="slice column weather has 2 values for 60"):
        replace(kept, slices={"weather": ("rain", "rain")})


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
