"""Statements about differences, against numbers by hand and a naive loop."""

from __future__ import annotations

import numpy as np
import pytest

from roadwork.ablation.comparison import Contrast, Scores, differences, seeded
from roadwork.calibration.base import softmax
from roadwork.evaluation.bootstrap import resample_weights
from roadwork.evaluation.holm import holm, least_resamples
from roadwork.evaluation.metrics import METRICS
from roadwork.evaluation.scored import ScoredSet


def test_holm_by_hand() -> None:
    # Rising: .01 × 4, .02 × 3, .03 × 2 = .06 (not below .06), .20 × 1.
    assert holm([0.20, 0.01, 0.03, 0.02]) == pytest.approx([0.20, 0.04, 0.06, 0.06])
    # .04 × 2 = .08; the next, .05 × 1, may not fall below it.
    assert holm([0.05, 0.04]) == pytest.approx([0.08, 0.08])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_counts_comparisons_without_a_value() -> None:
    assert holm([0.01, None]) == [0.02, None]
    assert holm([None]) == [None]


@pytest.mark.parametrize("comparisons", [1, 2, 9, 40])
def test_so_many_resamples_can_pass_after_holm_and_one_less_cannot(comparisons: int) -> None:
    least = least_resamples(comparisons)
    smallest = holm([2 / (1 + least)] + [1.0] * (comparisons - 1))[0]
    assert smallest is not None and smallest <= 0.05 + 1e-12
    short = holm([2 / least] + [1.0] * (comparisons - 1))[0]
    assert short is not None and short > 0.05


def scored(log_odds: list[float], labels: list[int], groups: list[str]) -> ScoredSet:
    logits = np.stack([np.zeros(len(labels)), np.array(log_odds)], axis=1)
    return ScoredSet(softmax(logits), np.array(labels), groups=np.array(groups), logits=logits)


LABELS = [0, 1] * 24
GROUPS = [f"g{number // 4:02d}" for number in range(48)]


def answers(strength: float, seed: int) -> ScoredSet:
    rng = np.random.default_rng(seed)
    signs = 2 * np.array(LABELS) - 1
    return scored((signs * strength + rng.normal(0, 1, 48)).tolist(), LABELS, GROUPS)


def test_a_metric_by_hand_over_two_seeds() -> None:
    labels, groups = [0, 1, 1, 0], ["a", "a", "b", "b"]
    first = scored([-1.0, 1.0, 2.0, 3.0], labels, groups)  # 2 of 4 pairs: 1 > -1, 2 > -1
    second = scored([-1.0, 1.0, 2.0, 0.5], labels, groups)  # 4 of 4 pairs
    found = seeded([first, second], "auroc")
    assert found.by_seed == (0.5, 1.0)
    assert found.mean == 0.75
    assert found.spread == pytest.approx(np.sqrt(2) * 0.25)  # sqrt(((-.25)² + .25²) / 1)
    assert seeded([first], "auroc").spread is None
    log_loss = np.mean(np.log1p(np.exp([-1.0, -1.0, -2.0, 0.5])))
    assert seeded([second], "nll").mean == pytest.approx(log_loss)


def test_a_metric_that_a_seed_does_not_have_has_no_mean() -> None:
    constant = scored([1.0] * 48, LABELS, GROUPS)
    found = seeded([answers(1, 0), constant], "mcc")
    assert found.mean is None and found.by_seed[1] is None and found.reason
    scores = Scores.of({0: [answers(1, 1)] * 2, 1: [answers(1, 0), constant]}, 100, 0)
    (row,) = differences(scores, [Contrast([(1, 0)])], "mcc")
    assert row["mcc"].value is None
    assert row["mcc"].says == "cannot tell"
    assert row["auroc"].value is not None and row["auroc"].says is None


def test_a_difference_against_the_naive_loop() -> None:
    ours, theirs = [answers(0.9, 0), answers(0.9, 1)], [answers(0.3, 2), answers(0.3, 3)]
    scores = Scores.of({0: theirs, 1: ours}, 200, 5)
    (row,) = differences(scores, [Contrast([(1, 0)])], "auroc")
    values = []
    for weights in resample_weights(theirs[0], 200, 5):
        for draw in weights:
            rows = np.repeat(np.arange(48), draw.astype(int))
            drawn = [[METRICS["auroc"].compute(s.take(rows)).value for s in side]
                     for side in (ours, theirs)]  # fmt: skip
            values.append(np.mean(np.array(drawn[0]) - np.array(drawn[1])))
    found = row["auroc"]
    low, high = np.percentile(values, [2.5, 97.5])
    assert (found.low, found.high) == pytest.approx((low, high))
    points = [
        METRICS["auroc"].compute(a).value - METRICS["auroc"].compute(b).value  # pyright: ignore
        for a, b in zip(ours, theirs, strict=True)
    ]
    assert found.by_seed == pytest.approx(points)
    assert found.value == pytest.approx(np.mean(points))
    tail = 1 + min(np.sum(np.array(values) <= 0), np.sum(np.array(values) >= 0))
    assert found.p == pytest.approx(2 * tail / 201)


def test_what_is_said() -> None:
    strong, weak = [answers(2.5, 0), answers(2.5, 1)], [answers(0.2, 2), answers(0.2, 3)]
    scores = Scores.of({0: weak, 1: strong, 2: weak}, 400, 0)
    pairs = [Contrast([(1, 0)]), Contrast([(2, 0)])]
    for metric in ("auroc", "nll", "mcc"):
        better, same = (row[metric] for row in differences(scores, pairs, metric))
        assert better.says == "better"
        assert better.adjusted == pytest.approx(2 * 2 / 401)
        assert same.says == "same answers" and same.value == 0
    (worse,) = differences(scores, [Contrast([(0, 1)])], "nll")
    assert worse["nll"].says == "worse" and worse["nll"].value is not None
    assert worse["nll"].value > 0


def test_seeds_that_disagree_and_few_groups_are_no_statement() -> None:
    mixed = Scores.of(
        {0: [answers(0.5, 0), answers(0.5, 1)], 1: [answers(4, 2), answers(0.3, 3)]}, 400, 0
    )
    (row,) = differences(mixed, [Contrast([(1, 0)])], "nll")
    first, second = row["nll"].by_seed
    assert first is not None and second is not None and first < 0 < second
    assert row["nll"].adjusted is not None and row["nll"].adjusted <= 0.05
    assert (row["nll"].says, row["nll"].reason) == ("cannot tell", "the seeds disagree")
    labels, groups = LABELS[:36], GROUPS[:36]
    sign = 2 * np.array(labels) - 1
    few = {0: [scored((0.1 * sign).tolist(), labels, groups)],
           1: [scored((3.0 * sign).tolist(), labels, groups)]}  # fmt: skip
    (row,) = differences(Scores.of(few, 400, 0), [Contrast([(1, 0)])], "nll")
    assert row["nll"].says == "cannot tell"
    assert row["nll"].adjusted is not None and row["nll"].adjusted <= 0.05


def test_a_contrast_is_the_mean_over_its_pairs() -> None:
    variants = {number: [answers(0.3 * number, number)] for number in range(4)}
    scores = Scores.of(variants, 100, 0)
    single = differences(scores, [Contrast([(1, 0)]), Contrast([(3, 2)])], "nll")
    (both,) = differences(scores, [Contrast([(1, 0), (3, 2)])], "nll")
    values = [row["nll"].value for row in single]
    assert both["nll"].value == pytest.approx(np.mean(values))  # pyright: ignore
