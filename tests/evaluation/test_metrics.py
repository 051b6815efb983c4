"""Every metric against hand-computed values, scikit-learn, torchmetrics, or a plain loop."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from torchmetrics.functional.classification import (
    binary_calibration_error,
    multiclass_calibration_error,
)

from roadwork.calibration.base import softmax
from roadwork.errors import ConfigError, DataError
from roadwork.evaluation.calibration_error import bin_index
from roadwork.evaluation.intervals import clopper_pearson
from roadwork.evaluation.metrics import (
    METRICS,
    Metric,
    ScoredSet,
    class_coverage,
    clipped_likelihoods,
    compute_metrics,
    within_group_auroc,
)


def binary(positive: object, labels: object, **extras: object) -> ScoredSet:
    p = np.asarray(positive, dtype=np.float64)
    table = np.stack([1.0 - p, p], axis=1)
    return ScoredSet(table, np.asarray(labels), **extras)  # pyright: ignore[reportArgumentType]


def random_set(seed: int, n: int, k: int, digits: int | None = None) -> ScoredSet:
    """A set with every class present; ``digits`` quantises the scores, which makes ties."""
    rng = np.random.default_rng(seed)
    labels = np.r_[np.arange(k), rng.integers(k, size=n - k)]
    logits = rng.normal(size=(n, k)) + 1.5 * np.eye(k)[labels]
    table = softmax(logits)
    if digits is not None:
        table[:, 1:] = np.floor(table[:, 1:] * 10**digits) / 10**digits
        table[:, 0] = 1.0 - table[:, 1:].sum(axis=1)
    return ScoredSet(table, labels, sets=table > 0.25, groups=rng.integers(n // 4 + 1, size=n))


def value(name: str, scored: ScoredSet) -> float:
    found = METRICS[name].compute(scored).value
    assert found is not None
    return found


# Confidences .9 .8 .7 .6, errors 0 1 0 1: the published vector.
TINY = binary([0.9, 0.8, 0.7, 0.6], [1, 0, 1, 0])


def test_risk_coverage_of_the_published_vector() -> None:
    assert value("aurc", TINY) == pytest.approx(0.2708333, abs=5e-8)
    assert value("augrc", TINY) == pytest.approx(0.1875, abs=1e-15)
    assert value("e_aurc", TINY) == pytest.approx(0.1174069, abs=5e-8)


def test_a_resample_without_its_most_confident_row_starts_at_the_next() -> None:
    # The row that is left at the top is wrong, so that the curve starts at risk 1.
    weights = np.array([[0.0, 1.0, 1.0, 1.0], [0.0, 0.0, 2.0, 1.0]])
    for name in ("aurc", "e_aurc", "augrc"):
        found = METRICS[name].batch(TINY, weights)
        wanted = [value(name, TINY.take([1, 2, 3])), value(name, TINY.take([2, 2, 3]))]
        assert found == pytest.approx(wanted, abs=1e-12), name


def test_the_tiny_vector_by_hand() -> None:
    # All predicted positive: TP 2, FP 2, nothing else.
    expected = {
        "accuracy": 0.5,
        "balanced_accuracy": 0.5,
        "precision": 0.5,
        "recall": 1.0,
        "f1": 2 / 3,
        "auroc": 0.75,
        "auprc": 0.5 * 1 + 0.5 * 2 / 3,
        "brier": (0.01 + 0.64 + 0.09 + 0.36) / 4,
        "brier_sum": (0.01 + 0.64 + 0.09 + 0.36) / 2,
        "nll": -math.log(0.9 * 0.2 * 0.7 * 0.4) / 4,
        "mce_positive": 0.8,
        "ece_positive": (0.1 + 0.8 + 0.3 + 0.6) / 4,
    }
    for name, wanted in expected.items():
        assert value(name, TINY) == pytest.approx(wanted, abs=1e-12), name
    mcc = METRICS["mcc"].compute(TINY)
    assert mcc.value is None and mcc.reason == "only one class present, or only one predicted"


@pytest.mark.parametrize("digits", [None, 1, 2])
@pytest.mark.parametrize("seed", range(4))
def test_binary_metrics_agree_with_scikit_learn(seed: int, digits: int | None) -> None:
    scored = random_set(seed, 150, 2, digits)
    y, p, hard = scored.labels, scored.probabilities[:, 1], scored.predicted
    inside = np.clip(scored.probabilities[np.arange(150), y], 1e-15, 1)
    expected = {
        "accuracy": sk.accuracy_score(y, hard),
        "balanced_accuracy": sk.balanced_accuracy_score(y, hard),
        "mcc": sk.matthews_corrcoef(y, hard),
        "f1": sk.f1_score(y, hard),
        "precision": sk.precision_score(y, hard),
        "recall": sk.recall_score(y, hard),
        "auroc": sk.roc_auc_score(y, p),
        "auprc": sk.average_precision_score(y, p),
        "brier": sk.brier_score_loss(y, p),
        "nll": -np.log(inside).mean(),
    }
    for name, wanted in expected.items():
        assert value(name, scored) == pytest.approx(wanted, abs=1e-12), name


@pytest.mark.parametrize("digits", [None, 1])
def test_many_classes_agree_with_scikit_learn(digits: int | None) -> None:
    scored = random_set(3, 200, 4, digits)
    y, p, hard = scored.labels, scored.probabilities, scored.predicted
    expected = {
        "accuracy": sk.accuracy_score(y, hard),
        "balanced_accuracy": sk.balanced_accuracy_score(y, hard),
        "mcc": sk.matthews_corrcoef(y, hard),
        "f1": sk.f1_score(y, hard, average="macro"),
        "precision": sk.precision_score(y, hard, average="macro"),
        "recall": sk.recall_score(y, hard, average="macro"),
        "auroc": sk.roc_auc_score(y, p, multi_class="ovr", average="macro"),
        "auprc": sk.average_precision_score(np.eye(4)[y], p, average="macro"),
        "brier_sum": ((p - np.eye(4)[y]) ** 2).sum(axis=1).mean(),
    }
    for name, wanted in expected.items():
        assert value(name, scored) == pytest.approx(wanted, abs=1e-12), name
    brier = METRICS["brier"].compute(scored)
    assert brier.value is None and "two classes" in str(brier.reason)


@pytest.mark.parametrize("seed", range(3))
def test_weights_agree_with_scikit_learn_and_with_repeated_rows(seed: int) -> None:
    scored = random_set(seed, 80, 2, digits=1)
    weights = np.random.default_rng(seed).integers(0, 4, size=80)
    repeated = scored.take(np.repeat(np.arange(80), weights))
    y, p, w = scored.labels, scored.probabilities[:, 1], weights.astype(np.float64)[None]
    assert METRICS["auroc"].batch(scored, w)[0] == pytest.approx(
        sk.roc_auc_score(y, p, sample_weight=weights), abs=1e-12
    )
    assert METRICS["auprc"].batch(scored, w)[0] == pytest.approx(
        sk.average_precision_score(y, p, sample_weight=weights), abs=1e-12
    )
    for name, info in METRICS.items():
        if name != "within_group_auroc":
            assert info.batch(scored, w)[0] == pytest.approx(value(name, repeated), abs=1e-12), name


@pytest.mark.parametrize("seed", range(3))
def test_calibration_errors_agree_with_torchmetrics(seed: int) -> None:
    scored = random_set(seed, 400, 2)
    p, y = torch.from_numpy(scored.probabilities), torch.from_numpy(scored.labels)
    positive = p[:, 1].contiguous()
    # The looser tolerance is for torchmetrics' cast of the K-class form to float32.
    for norm, name in (("l1", "ece"), ("max", "mce")):
        wanted = binary_calibration_error(positive, y, n_bins=15, norm=norm)  # pyright: ignore
        assert value(f"{name}_positive", scored) == pytest.approx(float(wanted), abs=1e-9)
        wanted = multiclass_calibration_error(p, y, 2, n_bins=15, norm=norm)  # pyright: ignore
        assert value(f"{name}_top_label", scored) == pytest.approx(float(wanted), abs=2e-6)


def test_static_calibration_error_is_the_mean_over_classes() -> None:
    scored = random_set(5, 300, 3)
    p, y = torch.from_numpy(scored.probabilities), torch.from_numpy(scored.labels)
    parts = [
        float(binary_calibration_error(column.contiguous(), (y == k).long(), n_bins=15))
        for k, column in enumerate(p.T)
    ]
    assert value("ece_positive", scored) == pytest.approx(np.mean(parts), abs=1e-9)


def test_the_two_flavours_of_calibration_error_differ() -> None:
    # All three confidences are .8 and two rows are right; P(y = 1) tells .2 and .8 apart.
    scored = binary([0.2, 0.8, 0.8], [0, 1, 0])
    assert value("ece_positive", scored) == pytest.approx((0.2 + 2 * 0.3) / 3)
    assert value("ece_top_label", scored) == pytest.approx(abs(2 / 3 - 0.8))


def test_bins_are_open_below_and_closed_above() -> None:
    edges = np.linspace(0, 1, 16)
    assert bin_index(edges[1:]).tolist() == list(range(15))
    assert bin_index(np.nextafter(edges[1:-1], 1.0)).tolist() == list(range(1, 15))
    assert bin_index(np.array([0.0, 1e-300])).tolist() == [0, 0]


@settings(deadline=None, max_examples=60)
@given(
    data=st.lists(
        st.tuples(st.sampled_from([0.5, 0.6, 0.7, 0.8, 0.9, 1.0]), st.booleans()),
        min_size=1,
        max_size=30,
    )
)
def test_areas_against_a_plain_loop_and_the_closed_form(data: list[tuple[float, bool]]) -> None:
    confidence = np.array([c for c, _ in data])
    wrong = np.array([not right for _, right in data])
    # Class 0 is predicted with this confidence in every row.
    scored = binary(1.0 - confidence, wrong.astype(np.int64))
    n = len(data)
    points = [
        (int((scored.confidence >= c).sum()), int(wrong[scored.confidence >= c].sum()))
        for c in sorted(set(scored.confidence.tolist()), reverse=True)
    ]
    aurc, last, risk = 0.0, 0.0, points[0][1] / points[0][0]
    augrc, general = 0.0, 0.0
    for accepted, errors in points:
        aurc += (accepted / n - last) * (errors / accepted + risk) / 2
        augrc += (accepted / n - last) * (errors / n + general) / 2
        last, risk, general = accepted / n, errors / accepted, errors / n
    assert value("aurc", scored) == pytest.approx(aurc, abs=1e-12)
    assert value("augrc", scored) == pytest.approx(augrc, abs=1e-12)
    e = float(wrong.mean())
    optimum = e + ((1 - e) * math.log(1 - e) if e < 1 else 0.0)
    assert value("e_aurc", scored) == pytest.approx(aurc - optimum, abs=1e-12)
    if 0 < e < 1:
        failure = sk.roc_auc_score(~wrong, scored.confidence)
        assert augrc == pytest.approx((1 - failure) * e * (1 - e) + e * e / 2, abs=1e-12)
    else:
        assert augrc == pytest.approx(e * e / 2, abs=1e-12)


def test_a_constant_confidence_has_half_the_error_rate_as_augrc() -> None:
    scored = binary([0.7] * 8, [1, 0] * 4)
    assert value("augrc", scored) == 0.25
    assert value("aurc", scored) == 0.5
    reordered = binary([0.7] * 8, [0] * 4 + [1] * 4)
    assert value("augrc", reordered) == 0.25


def test_one_half_is_predicted_as_class_zero() -> None:
    scored = binary([0.5, 0.5, np.nextafter(0.5, 1)], [0, 1, 1])
    assert scored.predicted.tolist() == [0, 0, 1]
    assert value("recall", scored) == 0.5


def test_auroc_counts_ties_as_one_half() -> None:
    assert value("auroc", binary([0.5, 0.5, 0.5], [0, 1, 1])) == 0.5
    assert value("auroc", binary([0.3, 0.7, 0.7, 0.9], [0, 0, 1, 1])) == 0.875


def test_one_class_gives_reasons_and_never_a_made_up_number() -> None:
    only_negative = compute_metrics(binary([0.2, 0.4], [0, 0], groups=np.array(["a", "a"])))
    reasons = {
        "auroc": "only one class present",
        "balanced_accuracy": "only one class present",
        "auprc": "no positives present",
        "recall": "no positives present",
        "precision": "nothing predicted positive",
        "f1": "no positives, true or predicted",
        "mcc": "only one class present, or only one predicted",
        "within_group_auroc": "no group has both classes",
        "coverage": "no prediction sets were given",
    }
    for name, reason in reasons.items():
        assert only_negative[name].value is None and only_negative[name].reason == reason
    assert only_negative["accuracy"].value == 1.0
    text = json.dumps({k: m.model_dump() for k, m in only_negative.items()}, allow_nan=False)
    assert "NaN" not in text
    absent = compute_metrics(random_set(0, 20, 3).take(np.r_[0, 1]), ["auroc", "f1"])
    assert absent["auroc"].value is None


def test_log_likelihood_reports_its_clipping_and_needs_none_with_logits() -> None:
    logits = np.array([[0.0, 800.0], [0.0, 1.0]])
    labels = np.array([0, 1])
    clipped = ScoredSet(softmax(logits), labels)
    metric = METRICS["nll"].compute(clipped)
    assert clipped_likelihoods(clipped) == 1
    assert metric.reason is not None and metric.reason.startswith("1 of 2")
    small = math.log1p(math.exp(-1.0))
    assert metric.value == pytest.approx((-math.log(1e-15) + small) / 2)
    exact = METRICS["nll"].compute(ScoredSet(softmax(logits), labels, logits=logits))
    assert exact.value == pytest.approx((800.0 + small) / 2) and exact.reason is None
    with pytest.raises(DataError, match="softmax of the logits"):
        ScoredSet(softmax(logits), labels, logits=logits[::-1])


def test_prediction_sets_by_hand() -> None:
    # Row 6: P(roadwork) = 0.4 is no prediction of roadwork, yet its set holds roadwork alone.
    sets = np.array([[1, 0], [0, 1], [1, 1], [0, 0], [0, 1], [0, 0], [0, 1]], dtype=bool)
    scored = binary([0.1, 0.8, 0.5, 0.5, 0.9, 0.3, 0.4], [0, 1, 1, 1, 0, 0, 1], sets=sets)
    assert scored.answered.tolist() == [True, True, False, False, True, False, False]
    expected = {
        "coverage": 4 / 7,
        "coverage_negative": 1 / 3,
        "coverage_positive": 3 / 4,
        "coverage_lowest_class": 1 / 3,
        "mean_set_size": 6 / 7,
        "empty_share": 2 / 7,
        "singleton_share": 4 / 7,
        "answered_share": 3 / 7,
        "full_share": 1 / 7,
        "selective_risk": 1 / 3,
    }
    for name, wanted in expected.items():
        assert value(name, scored) == pytest.approx(wanted, abs=1e-15), name
    negative, positive = class_coverage(scored)
    assert (negative.n, positive.n) == (3, 4)
    assert (negative.low, negative.high) == clopper_pearson(1, 3)
    assert (positive.low, positive.high) == clopper_pearson(3, 4)
    deferred = METRICS["selective_risk"].compute(scored.take([2, 3, 6]))
    assert deferred.value is None and deferred.reason == "every row is deferred"
    missing = class_coverage(scored.take([0]))[1]
    assert missing.value is None and missing.n == 0


def test_within_group_auroc_by_hand() -> None:
    # Group a: one pair right, one tied; group b: one wrong; group c has no pair.
    scores = [0.9, 0.1, 0.9, 0.2, 0.7, 0.5]
    labels = [1, 0, 0, 1, 0, 1]
    found = within_group_auroc(scores, labels, ["a", "a", "a", "b", "b", "c"])
    assert (found.value, found.n_pairs, found.n_groups) == (0.5, 3, 2)
    none = within_group_auroc([0.1, 0.2], [0, 1], ["a", "b"])
    assert (none.value, none.n_pairs, none.n_groups) == (None, 0, 0)
    with pytest.raises(DataError):
        within_group_auroc([0.1, np.nan], [0, 1], ["a", "a"])
    with pytest.raises(DataError):
        within_group_auroc([0.1], [0, 1], ["a", "a"])


@given(
    rows=st.lists(
        st.tuples(st.integers(0, 3), st.booleans(), st.integers(0, 4)), min_size=1, max_size=40
    )
)
def test_within_group_auroc_against_all_pairs(rows: list[tuple[int, bool, int]]) -> None:
    wins, pairs = 0.0, 0
    for group, positive, score in rows:
        for other, other_positive, other_score in rows:
            if group == other and positive and not other_positive:
                pairs += 1
                wins += 1.0 if score > other_score else 0.5 if score == other_score else 0.0
    found = within_group_auroc(
        [score / 4 for _, _, score in rows],
        [int(positive) for _, positive, _ in rows],
        [group for group, _, _ in rows],
    )
    assert found.n_pairs == pairs
    assert found.value == (pytest.approx(wins / pairs, abs=1e-12) if pairs else None)


def test_within_one_group_it_is_the_auroc_and_camera_effects_vanish() -> None:
    scored = random_set(1, 100, 2, digits=1)
    p, y = scored.probabilities[:, 1], scored.labels
    assert within_group_auroc(p, y, [0] * 100).value == pytest.approx(value("auroc", scored))
    # A score that knows the group only: high AUROC, one half within groups.
    groups = np.repeat([0, 1], 50)
    labels = np.r_[np.arange(50) < 45, np.arange(50) < 5].astype(int)
    knows = np.where(groups == 0, 0.9, 0.1)
    assert value("auroc", binary(knows, labels)) == pytest.approx(0.9)
    assert within_group_auroc(knows, labels, groups).value == 0.5


def test_registry_is_consistent() -> None:
    assert all(name == info.name for name, info in METRICS.items())
    assert len({info.title for info in METRICS.values()}) == len(METRICS)
    with pytest.raises(ConfigError, match="unknown metrics magic"):
        compute_metrics(TINY, ["magic"])
    assert Metric(value=0.5, n=1).model_dump()["low"] is None
    assert list(compute_metrics(TINY, ["mcc", "brier"])) == ["mcc", "brier"]


def test_clopper_pearson_by_known_values() -> None:
    assert clopper_pearson(0, 10) == (0.0, pytest.approx(1 - 0.025**0.1))
    assert clopper_pearson(10, 10) == (pytest.approx(0.025**0.1), 1.0)
    low, high = clopper_pearson(5, 10)
    assert low == pytest.approx(0.18709, abs=1e-5) and high == pytest.approx(0.81291, abs=1e-5)
    assert clopper_pearson(0, 0) == (0.0, 1.0)
    with pytest.raises(DataError):
        clopper_pearson(3, 2)
    with pytest.raises(ConfigError):
        clopper_pearson(1, 2, level=1.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: binary([np.nan, 0.5], [0, 1]), "not finite"),
        (lambda: binary([], np.array([], dtype=int)), "no rows"),
        (lambda: binary([0.5, 1.5], [0, 1]), "no distribution"),
        (lambda: binary([0.5], [0, 1]), "labels"),
        (lambda: binary([0.5], [0], groups=np.array(["a", "b"])), "groups"),
        (lambda: binary([0.5], [0], sets=np.ones((1, 2))), "booleans"),
        (lambda: ScoredSet(np.zeros((2, 2)), np.array([0, 1])), "pass the output of a calibrator"),
    ],
)
def test_broken_sets_are_refused(make: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        make()  # pyright: ignore[reportCallIssue]
