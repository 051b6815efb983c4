"""The loss by which passes are chosen: the mean over every cascade there could be."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from roadwork.cascade.selection import mean_cascade_loss, selection_loss
from roadwork.training.refinement import refinement_loss


def by_hand(first: np.ndarray, second: np.ndarray, order: tuple[int, ...]) -> float:
    n = len(first)
    losses = []
    for k in range(n + 1):
        at_once = list(order[:k])
        losses.append((first[at_once].sum() + np.delete(second, at_once).sum()) / n)
    return float(np.mean(losses))


def test_it_is_the_mean_over_all_cuts() -> None:
    rng = np.random.default_rng(0)
    first, second, confidence = rng.random((3, 7))
    order = tuple(np.argsort(-confidence).tolist())
    found = mean_cascade_loss(first, second, confidence)
    assert found == pytest.approx(by_hand(first, second, order), abs=1e-12)


def test_equal_confidences_count_as_the_mean_over_their_orders() -> None:
    first, second = np.array([1.0, 4.0, 2.0, 0.5]), np.array([0.2, 0.1, 3.0, 0.7])
    confidence = np.array([0.9, 0.8, 0.8, 0.6])
    orders = [(0, *middle, 3) for middle in permutations((1, 2))]
    expected = np.mean([by_hand(first, second, order) for order in orders])
    assert mean_cascade_loss(first, second, confidence) == pytest.approx(expected, abs=1e-12)


def test_one_image_by_hand() -> None:
    # Half of the cuts ask stage 1, half stage 2.
    assert mean_cascade_loss(np.array([3.0]), np.array([1.0]), np.array([0.7])) == 2.0


def test_confidence_at_the_right_images_lowers_it_and_scale_does_not_matter() -> None:
    labels = np.array([0, 1] * 20)
    rng = np.random.default_rng(1)
    signs = np.where(labels == 1, 1.0, -1.0)
    margin = signs * rng.uniform(0.5, 3, 40)
    margin[:8] *= -1  # wrong
    unsure = margin.copy()
    unsure[:8] *= 0.05  # wrong, and knows that it does not know
    second = signs * 4 + rng.normal(0, 2, 40)

    def pair(m: np.ndarray) -> np.ndarray:
        return np.stack([-m / 2, m / 2], axis=1)

    sure_loss = selection_loss(pair(margin), pair(second), labels)
    unsure_loss = selection_loss(pair(unsure), pair(second), labels)
    assert unsure_loss.cascade < sure_loss.cascade
    scaled = selection_loss(pair(10 * unsure), pair(second), labels)
    assert scaled.cascade == pytest.approx(unsure_loss.cascade, abs=1e-4)
    assert unsure_loss.first == refinement_loss(pair(unsure), labels)
    assert unsure_loss.second == refinement_loss(pair(second), labels)
