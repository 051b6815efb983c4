"""The bootstrap against a naive loop over resampled rows, and its special cases."""

from __future__ import annotations

import numpy as np
import pytest

from roadwork.errors import ConfigError, DataError
from roadwork.evaluation import bootstrap as module
from roadwork.evaluation.bootstrap import (
    BootstrapResult,
    PairedDifference,
    bootstrap,
    paired_bootstrap,
    resample_weights,
)
from roadwork.evaluation.metrics import METRICS, ScoredSet


def random_set(seed: int, n: int, groups: int, k: int = 2) -> ScoredSet:
    rng = np.random.default_rng(seed)
    labels = rng.integers(k, size=n)
    logits = rng.normal(size=(n, k)) + np.eye(k)[labels]
    table = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    table = np.round(table, 2)
    table[:, 0] = 1.0 - table[:, 1:].sum(axis=1)
    table = np.clip(table, 0.0, 1.0)
    names = np.array([f"drive-{g}" for g in rng.integers(groups, size=n)])
    return ScoredSet(table, labels, sets=table > 0.3, groups=names)


def naive(scored: ScoredSet, weights: np.ndarray, name: str) -> float:
    """Metric of the rows that ``weights`` stand for, as a data set of its own."""
    rows = np.repeat(np.arange(scored.n), weights.astype(int))
    copies = np.concatenate([np.arange(w) for w in weights.astype(int)])
    resample = scored.take(rows)
    # A group drawn twice is two groups.
    assert resample.groups is not None
    apart = np.char.add(resample.groups.astype(str), copies.astype(str))
    again = ScoredSet(resample.probabilities, resample.labels, resample.sets, apart)
    found = METRICS[name].compute(again).value
    return np.nan if found is None else found


@pytest.mark.parametrize("k", [2, 3])
def test_every_metric_agrees_with_the_naive_loop(k: int) -> None:
    scored = random_set(k, 60, 12, k)
    result = bootstrap(scored, resamples=60, seed=4)
    (weights,) = resample_weights(scored, 60, seed=4)
    for name, metric in result.metrics.items():
        if metric.value is None:
            assert metric.low is None and name not in result.skipped
            continue
        values = np.array([naive(scored, row, name) for row in weights])
        kept = values[~np.isnan(values)]
        assert result.skipped[name] == np.isnan(values).sum(), name
        low, high = np.percentile(kept, [2.5, 97.5])
        assert metric.low == pytest.approx(low, abs=1e-12), name
        assert metric.high == pytest.approx(high, abs=1e-12), name
    assert result.n_groups == 12


def test_weights_draw_whole_groups_as_many_as_there_are() -> None:
    scored = random_set(1, 50, 7)
    (weights,) = resample_weights(scored, 200, seed=0)
    assert weights.shape == (200, 50)
    first = np.unique(scored.group_codes, return_index=True)[1]
    assert (weights == weights[:, first][:, scored.group_codes]).all()
    assert (weights[:, first].sum(axis=1) == scored.n_groups).all()
    # Each group is drawn once on average: the mean of 200 draws has standard error .065.
    assert np.abs(weights[:, first].mean(axis=0) - 1).max() < 0.3


def test_it_is_deterministic_and_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    scored = random_set(2, 80, 20)
    whole = bootstrap(scored, ["auroc", "augrc"], resamples=101, seed=9)
    assert bootstrap(scored, ["auroc", "augrc"], resamples=101, seed=9) == whole
    assert (
        bootstrap(scored, ["auroc"], resamples=101, seed=9).metrics["auroc"]
        == (whole.metrics["auroc"])
    )
    assert bootstrap(scored, ["auroc"], resamples=101, seed=8).metrics != whole.metrics
    monkeypatch.setattr(module, "_BLOCK", 80 * 10)
    assert bootstrap(scored, ["auroc", "augrc"], resamples=101, seed=9) == whole
    assert BootstrapResult.model_validate_json(whole.model_dump_json()) == whole


def test_copies_of_a_row_in_one_group_add_no_certainty() -> None:
    scored = random_set(3, 40, 40)
    once = ScoredSet(scored.probabilities, scored.labels, groups=np.arange(40))
    tenfold = once.take(np.repeat(np.arange(40), 10))
    names = ["accuracy", "auroc", "brier", "augrc"]
    single = bootstrap(once, names, resamples=300).metrics
    grouped = bootstrap(tenfold, names, resamples=300).metrics
    for name in names:
        assert grouped[name].low == pytest.approx(single[name].low, abs=1e-12)
        assert grouped[name].high == pytest.approx(single[name].high, abs=1e-12)
    loose = ScoredSet(tenfold.probabilities, tenfold.labels)
    narrow = bootstrap(loose, ["accuracy"], resamples=300).metrics["accuracy"]
    wide = grouped["accuracy"]
    assert narrow.low is not None and narrow.high is not None
    assert wide.low is not None and wide.high is not None
    assert narrow.high - narrow.low < 0.5 * (wide.high - wide.low)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    """Accuracy .8 from 100 independent rows; 95 % intervals, 200 times."""
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(200):
        labels = (rng.random(100) > 0.8).astype(int)
        scored = ScoredSet(np.tile([0.9, 0.1], (100, 1)), labels)
        metric = bootstrap(scored, ["accuracy"], resamples=400, seed=seed).metrics["accuracy"]
        assert metric.low is not None and metric.high is not None
        covered += metric.low <= 0.8 <= metric.high
    # 190 expected; the percentile interval is slightly short, and 170 is six standard errors off.
    assert 175 <= covered <= 199


def test_one_class_resamples_are_skipped_and_counted() -> None:
    p = np.linspace(0.1, 0.9, 8)
    table = np.stack([1 - p, p], axis=1)
    rare = ScoredSet(table, np.array([0, 0, 0, 0, 0, 0, 0, 1]), groups=np.arange(8))
    result = bootstrap(rare, ["auroc", "accuracy"], resamples=1000)
    # The only positive is missed with probability (7 / 8)^8 = .3436.
    assert result.skipped["auroc"] == pytest.approx(343.6, abs=75)
    assert result.skipped["accuracy"] == 0
    assert result.metrics["auroc"].low is not None


def test_too_many_skipped_resamples_leave_no_interval() -> None:
    # Three classes of one group each: all three are drawn with probability 6 / 27 = .222.
    scored = ScoredSet(np.eye(3), np.arange(3), groups=np.array(["a", "b", "c"]))
    result = bootstrap(scored, ["balanced_accuracy", "accuracy"], resamples=900)
    metric = result.metrics["balanced_accuracy"]
    skipped = result.skipped["balanced_accuracy"]
    assert skipped == pytest.approx(700, abs=60)
    assert (metric.value, metric.low, metric.high) == (1.0, None, None)
    assert metric.reason == f"no interval: undefined in {skipped} of 900 resamples"
    assert result.metrics["accuracy"].low == 1.0


def test_one_group_has_no_interval() -> None:
    p = np.array([0.1, 0.9, 0.4])
    table = np.stack([1 - p, p], axis=1)
    single = ScoredSet(table, np.array([0, 1, 0]), groups=np.array(["a", "a", "a"]))
    found = bootstrap(single, ["auroc"], resamples=50).metrics["auroc"]
    assert (found.value, found.low, found.high) == (1.0, None, None)
    assert found.reason == "no interval: a single group cannot be resampled"


def test_paired_difference_against_the_naive_loop() -> None:
    scored = random_set(6, 80, 16)
    other = random_set(7, 80, 16).probabilities
    assert scored.groups is not None
    found = paired_bootstrap(
        "auroc",
        scored.probabilities,
        other,
        scored.labels,
        scored.groups,
        resamples=200,
        seed=3,
    )
    second = ScoredSet(other, scored.labels, groups=scored.groups)
    (weights,) = resample_weights(scored, 200, seed=3)
    rows = [np.repeat(np.arange(80), row.astype(int)) for row in weights]
    values = np.array(
        [
            (METRICS["auroc"].compute(second.take(r)).value or np.nan)
            - (METRICS["auroc"].compute(scored.take(r)).value or np.nan)
            for r in rows
        ]
    )
    assert found.a == METRICS["auroc"].compute(scored).value
    assert found.b == METRICS["auroc"].compute(second).value
    assert found.difference == pytest.approx(found.b - found.a)  # pyright: ignore
    low, high = np.percentile(values, [2.5, 97.5])
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    tail = min((values <= 0).sum(), (values >= 0).sum())
    assert found.share == pytest.approx(min(1.0, 2 * (1 + tail) / 201))
    assert found.n_groups == 16 and found.skipped == 0
    assert PairedDifference.model_validate_json(found.model_dump_json()) == found


def test_a_model_does_not_differ_from_itself_and_a_better_one_does() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(2, size=400)
    good = np.clip(0.5 + 0.3 * (2 * labels - 1) + rng.normal(scale=0.1, size=400), 0, 1)
    poor = rng.random(400)
    same = paired_bootstrap("brier", good, good, labels, resamples=100)
    assert (same.difference, same.low, same.high, same.share) == (0.0, 0.0, 0.0, 1.0)
    better = paired_bootstrap("auroc", poor, good, labels, resamples=200)
    assert better.low is not None and better.low > 0.3
    assert better.share == pytest.approx(2 / 201)


def test_paired_edge_cases() -> None:
    one_class = paired_bootstrap("auroc", [0.1, 0.2], [0.3, 0.4], [0, 0], resamples=10)
    assert one_class.difference is None and one_class.reason == "only one class present"
    with pytest.raises(ConfigError, match="prediction sets"):
        paired_bootstrap("coverage", [0.1], [0.2], [0])
    with pytest.raises(ConfigError, match="unknown"):
        paired_bootstrap("magic", [0.1], [0.2], [0])
    with pytest.raises(DataError, match="number of classes"):
        paired_bootstrap("accuracy", [[0.2, 0.3, 0.5]], [[0.5, 0.5]], [0])
    with pytest.raises(ConfigError, match="at least one"):
        bootstrap(random_set(0, 20, 5), ["accuracy"], resamples=0)
