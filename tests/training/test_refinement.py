"""Refinement loss: confidence does not count, order does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from roadwork.training.refinement import log_loss, refinement_loss, separated

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 2, 80)
LOGITS = RNG.normal(size=(80, 2)) + 1.2 * np.eye(2)[LABELS]


def nll(logits: np.ndarray) -> float:
    return float(-log_softmax(logits, axis=1)[np.arange(80), LABELS].mean())


def test_it_is_the_least_over_all_temperatures() -> None:
    least = minimize_scalar(lambda log: nll(LOGITS / np.exp(log)), bounds=(-4, 4), method="bounded")
    assert refinement_loss(LOGITS, LABELS) == pytest.approx(least.fun, abs=1e-6)
    assert refinement_loss(LOGITS, LABELS) < nll(LOGITS)


@pytest.mark.parametrize("factor", [0.2, 5.0])
def test_confidence_does_not_count(factor: float) -> None:
    expected = refinement_loss(LOGITS, LABELS)
    assert refinement_loss(factor * LOGITS, LABELS) == pytest.approx(expected, abs=1e-6)


def test_a_better_order_is_better_however_sure() -> None:
    better = 6 * (LOGITS + 0.8 * np.eye(2)[LABELS])
    assert nll(better) > nll(LOGITS) - 0.2  # too sure to look good as it is
    assert refinement_loss(better, LABELS) < refinement_loss(LOGITS, LABELS) - 0.1


def test_it_can_be_asked_where_nothing_may_be_fitted() -> None:
    expected = refinement_loss(LOGITS, LABELS)
    with torch.inference_mode():
        assert refinement_loss(LOGITS, LABELS) == expected


def test_separated_answers_with_a_larger_margin_have_a_lower_loss() -> None:
    """A probability that rounds to one has a loss above zero all the same."""
    margins = (0.5, 1.0, 2.0, 5.0)
    losses = [refinement_loss(margin * np.eye(2)[LABELS], LABELS) for margin in margins]
    assert losses == sorted(losses, reverse=True)
    # The least temperature is exp(-4): log(1 + exp(-margin exp(4))).
    assert losses == pytest.approx([np.log1p(np.exp(-m * np.exp(4))) for m in margins], rel=1e-6)
    assert 0 < losses[-1] < 1e-100
    assert len(set(losses)) == 4


def test_separation_by_hand() -> None:
    logits = np.array([[1.0, 0.0], [0.0, 0.1], [2.0, -1.0]])
    assert separated(logits, np.array([0, 1, 0]))
    assert not separated(logits, np.array([0, 1, 1]))
    logits[1] = 0.0
    assert not separated(logits, np.array([0, 1, 0]))


def test_the_plain_loss_by_hand() -> None:
    assert log_loss(LOGITS, LABELS) == pytest.approx(nll(LOGITS))


def test_separable_and_one_class_sets_have_a_loss() -> None:
    assert refinement_loss(10.0 * np.eye(2)[LABELS], LABELS) == pytest.approx(0, abs=1e-6)
    ones = np.ones(80, dtype=np.int64)
    expected = float(-log_softmax(LOGITS, axis=1)[:, 1].mean())
    assert refinement_loss(LOGITS, ones) == pytest.approx(expected)
