"""Deferral performance, overlap and AUROC of confidences, by hand and by other roads."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from roadwork.cascade.confidence import (
    CONFIDENCE_METRICS,
    confidence_overlap,
    deferral_performance,
    right_wrong_auroc,
)
from tests.cascade.test_simulate import made, repeat, scored, scores

ONES = np.ones((1, 4))


def value(first: list[float], second: list[float], labels: list[int]) -> float:
    found = deferral_performance(scores(first, second, labels), np.ones((1, len(labels))))
    return float(found[0])


def test_perfect_deferral_is_one() -> None:
    """Confidence .9 .8 right, .7 .6 wrong; stage 2 right throughout.

    Areas by trapezoid: real (1 + 1 + .875 + .625) / 4 = .875, random .75, ideal .875.
    """
    second = [0.9, 0.9, 0.1, 0.1]
    assert value([0.9, 0.8, 0.7, 0.6], second, [1, 1, 0, 0]) == pytest.approx(1.0)


def test_deferral_by_hand() -> None:
    """Wrong, right, right, wrong from the surest on: real 1, .75, .75, .75, .5 = .75: random."""
    second = [0.1, 0.9, 0.9, 0.1]
    assert value([0.9, 0.8, 0.7, 0.6], second, [0, 1, 1, 0]) == pytest.approx(0.0)
    # Wrong, wrong, right, right: real 1, .75, .5, .5, .5 has the area .625.
    second = [0.1, 0.1, 0.9, 0.9]
    assert value([0.9, 0.8, 0.7, 0.6], second, [0, 0, 1, 1]) == pytest.approx(-1.0)


def test_equal_confidence_defers_at_random() -> None:
    assert value([0.8] * 4, [0.9, 0.1, 0.9, 0.1], [1, 0, 1, 0]) == pytest.approx(0.0)


def test_ties_are_the_mean_over_their_orders() -> None:
    cascade = made(60, seed=11)
    found = deferral_performance(cascade, np.ones((1, 60)))[0]
    rng = np.random.default_rng(5)
    right_1, right_2 = cascade.first.correct, cascade.second.correct
    a1, a2 = right_1.mean(), right_2.mean()
    assert a2 > a1
    values = []
    for _ in range(3000):
        order = np.lexsort((rng.random(60), -cascade.first.confidence))
        gained = np.cumsum(right_1[order].astype(float) - right_2[order])
        real = a2 + np.append(0.0, gained) / 60
        area = ((real[1:] + real[:-1]) / 2).mean()
        values.append((area - (a1 + a2) / 2) / (a1 * (a2 - a1) / 2))
    error = np.std(values) / np.sqrt(len(values))
    assert found == pytest.approx(np.mean(values), abs=5 * error)


def test_a_second_stage_that_is_no_better_is_undefined() -> None:
    assert np.isnan(value([0.9, 0.8], [0.9, 0.9], [1, 1]))
    same = scores([0.9, 0.8], [0.9, 0.9], [1, 1])
    for info in CONFIDENCE_METRICS.values():
        assert np.isnan(info.batch(same, np.ones((1, 2)))).all()


def test_overlap_by_hand() -> None:
    """Bins of 0.025 from 0.5: right answers at .51 .51 .76 .99, wrong ones at .52 .76 .98 .52."""
    labels = [1, 1, 1, 1, 0, 0, 0, 0]
    found = confidence_overlap(
        scored([0.51, 0.51, 0.76, 0.99, 0.52, 0.76, 0.98, 0.52], labels), np.ones((1, 8))
    )
    assert found.tolist() == pytest.approx([0.5 + 0.25 + 0.25])
    apart = confidence_overlap(scored([0.9, 0.8, 0.7, 0.6], [1, 1, 0, 0]), ONES)
    assert apart.tolist() == [0.0]


def test_a_sure_answer_falls_into_the_last_bin() -> None:
    found = confidence_overlap(scored([1.0, 1.0], [1, 0]), np.ones((1, 2)))
    assert found.tolist() == [1.0]


@pytest.mark.parametrize("seed", range(5))
def test_auroc_is_that_of_scikit_learn(seed: int) -> None:
    stage = made(50, seed).first
    expected = roc_auc_score(stage.correct, stage.confidence)
    assert right_wrong_auroc(stage, np.ones((1, 50)))[0] == pytest.approx(expected)


@pytest.mark.parametrize("name", CONFIDENCE_METRICS)
def test_integer_weights_are_repeated_rows(name: str) -> None:
    cascade = made(80, seed=2)
    weights = np.random.default_rng(1).integers(0, 4, (1, 80)).astype(np.float64)
    repeated = repeat(cascade, weights)
    found = CONFIDENCE_METRICS[name].batch(cascade, weights)
    again = CONFIDENCE_METRICS[name].batch(repeated, np.ones((1, repeated.first.n)))
    assert np.isfinite(found).all()
    assert found == pytest.approx(again)
