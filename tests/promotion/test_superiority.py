"""One-sided bounds and exchanges: by hand, against naive loops, and where they cannot be had."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm, t

from roadwork.errors import ConfigError, DataError
from roadwork.evaluation.bootstrap import resample_weights
from roadwork.evaluation.metrics import METRICS
from roadwork.evaluation.scored import ScoredSet
from roadwork.promotion.exchange import exchange_p_value
from roadwork.promotion.superiority import (
    MOST_RESAMPLES,
    compare_figure,
    expanded_tail,
    lower_bound,
    resamples_for,
)


def answers(right: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> ScoredSet:
    p = np.where(right, np.where(labels == 1, 0.8, 0.2), np.where(labels == 1, 0.2, 0.8))
    return ScoredSet(np.stack([1 - p, p], axis=1), labels, groups=groups)


def two(groups: int = 20, each: int = 6, seed: int = 0) -> tuple[ScoredSet, ScoredSet]:
    """A candidate that is right in nine of ten rows, and a champion in seven of ten."""
    rng = np.random.default_rng(seed)
    labels, names = np.arange(groups * each) % 2, np.arange(groups * each) // each
    candidate = answers(rng.random(len(labels)) < 0.9, labels, names)
    return candidate, answers(rng.random(len(labels)) < 0.7, labels, names)


def test_tail_is_that_of_student_with_one_group_less() -> None:
    for level, groups in ((0.05, 10), (0.01, 40), (0.3, 2)):
        by_scipy = norm.cdf(math.sqrt(groups / (groups - 1)) * t.ppf(level, groups - 1))
        assert expanded_tail(level, groups) == pytest.approx(by_scipy, rel=1e-9)
        assert expanded_tail(level, groups) < level
    assert expanded_tail(0.05, 10**7) == pytest.approx(0.05, rel=1e-5)


def test_resamples_fill_the_tail_within_limits() -> None:
    assert resamples_for(0.05) == 2000
    assert resamples_for(0.001) == 20_000
    assert resamples_for(1e-9) == resamples_for(0.0) == MOST_RESAMPLES


def test_bound_is_a_rank_and_undefined_draws_are_losses() -> None:
    gains = np.arange(1.0, 100.0)  # 99 of them: the 5th smallest of 100 ranks
    assert lower_bound(gains, 0.05) == 5.0
    assert lower_bound(gains, 0.0599) == 5.0
    assert lower_bound(gains, 0.0099) is None
    gains[[50, 60]] = np.nan
    assert lower_bound(gains, 0.05) == 3.0
    gains[50:56] = np.nan
    assert lower_bound(gains, 0.05) is None


@pytest.mark.parametrize(("figure", "sign"), [("mcc", 1.0), ("auroc", 1.0), ("nll", -1.0)])
def test_bound_equals_a_naive_loop(figure: str, sign: float) -> None:
    candidate, champion = two()
    found = compare_figure(figure, candidate, champion, level=0.05, seed=4)
    info = METRICS[figure]
    weights = np.concatenate(list(resample_weights(candidate, found.resamples, 4)))
    drawn = sign * (info.batch(candidate, weights) - info.batch(champion, weights))
    rank = math.floor(expanded_tail(0.05, 20) * (1 + found.resamples))
    assert found.low == pytest.approx(np.sort(drawn)[rank - 1])
    assert found.gain is not None and found.low is not None
    assert found.gain > found.low > 0
    assert (found.n_groups, found.level, found.margin, found.p) == (20, 0.05, 0.0, None)
    turned = compare_figure(figure, champion, candidate, level=0.05, seed=4)
    assert turned.gain == pytest.approx(-found.gain)
    assert turned.low is not None and turned.low < -found.gain


def test_the_same_answers_have_no_gain() -> None:
    candidate, _ = two()
    found = compare_figure("mcc", candidate, candidate, level=0.05)
    assert (found.gain, found.low) == (0.0, 0.0)
    assert exchange_p_value("mcc", candidate, candidate, exchanges=100) == 1.0


def test_too_few_groups_are_an_answer() -> None:
    candidate, champion = two(groups=2, each=30)
    found = compare_figure("mcc", candidate, champion, level=0.001)
    assert found.gain is not None
    assert found.low is None
    assert "2 groups cannot show a gain at the level 0.001" in str(found.reason)
    one = compare_figure("mcc", *two(groups=1, each=40), level=0.05)
    assert one.reason == "a single group cannot be resampled"


def test_an_undefined_figure_keeps_its_reason() -> None:
    labels, groups = np.ones(40, dtype=np.int64), np.arange(40) // 2
    only = answers(np.ones(40, dtype=bool), labels, groups)
    found = compare_figure("auroc", only, only, level=0.05)
    assert (found.gain, found.low, found.resamples) == (None, None, 0)
    assert found.reason == "only one class present"
    assert exchange_p_value("auroc", only, only, exchanges=10) is None


def test_other_rows_are_refused() -> None:
    candidate, champion = two()
    with pytest.raises(DataError, match="not judged on the same rows"):
        compare_figure("mcc", candidate, champion.take(np.arange(60)), level=0.05)
    with pytest.raises(ConfigError):
        compare_figure("beauty", candidate, champion, level=0.05)


def test_exchange_by_hand() -> None:
    # Three groups of two rows; the candidate is right everywhere, the champion nowhere. The gain in
    # accuracy is 1, which 1 of the 8 exchanges reaches: the one that keeps everything.
    labels, groups = np.arange(6) % 2, np.arange(6) // 2
    all_right, none_right = (answers(np.full(6, is_), labels, groups) for is_ in (True, False))
    p = exchange_p_value("accuracy", all_right, none_right, exchanges=20_000, seed=1)
    assert p == pytest.approx(1 / 8, abs=4 * math.sqrt(1 / 8 * 7 / 8 / 20_000))
    turned = exchange_p_value("accuracy", none_right, all_right, exchanges=200, seed=1)
    assert turned == 1.0


@pytest.mark.parametrize("figure", ["mcc", "auroc", "nll"])
def test_exchange_equals_a_naive_loop(figure: str) -> None:
    candidate, champion = two(groups=12, seed=3)
    info = METRICS[figure]
    sign = 1.0 if info.higher_is_better else -1.0

    def gain(first: ScoredSet, second: ScoredSet) -> float:
        a, b = info.compute(first).value, info.compute(second).value
        assert a is not None and b is not None
        return sign * (a - b)

    rng = np.random.default_rng(7)
    reached = 0
    for row in rng.integers(2, size=(300, 12)):
        keep = row[candidate.group_codes][:, None] == 1
        first, second = (
            ScoredSet(
                np.where(side, candidate.probabilities, champion.probabilities), champion.labels
            )
            for side in (keep, ~keep)
        )
        reached += gain(first, second) >= gain(candidate, champion) - 1e-12
    found = exchange_p_value(figure, candidate, champion, exchanges=300, seed=7)
    assert found == pytest.approx((1 + reached) / 301)
