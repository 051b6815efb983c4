"""The domain adversary: the reversed gradient against numbers, the schedule by hand, the heads."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from roadwork.models.domain import DomainHeads, adversary_schedule, reverse_gradient


def test_forwards_nothing_changes_and_backwards_the_sign_does() -> None:
    values = torch.tensor([[1.0, -2.0], [3.0, 0.5]], requires_grad=True)
    weight = torch.tensor(0.25)
    out = reverse_gradient(values, weight)
    assert torch.equal(out, values)
    (out * torch.tensor([[1.0, 2.0], [3.0, 4.0]])).sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == [[-0.25, -0.5], [-0.75, -1.0]]


def test_the_gradient_is_minus_the_weight_times_the_numerical_one() -> None:
    torch.manual_seed(0)
    values = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    matrix = torch.randn(4, 2, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([0, 1, 1])
    weight = torch.tensor(0.7, dtype=torch.float64)

    def loss(features: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(torch.tanh(features) @ matrix, targets)

    loss(reverse_gradient(values, weight)).backward()
    numerical = torch.zeros(3, 4, dtype=torch.float64)
    step = 1e-6
    with torch.no_grad():
        for index in range(12):
            moved = torch.zeros(12, dtype=torch.float64)
            moved[index] = step
            up, down = loss(values + moved.view(3, 4)), loss(values - moved.view(3, 4))
            numerical.view(-1)[index] = (up - down) / (2 * step)
    torch.testing.assert_close(values.grad, -0.7 * numerical, atol=1e-8, rtol=1e-6)
    # What lies behind the reversal learns in the ordinary direction.
    plain = torch.autograd.grad(loss(values), matrix)[0]
    torch.testing.assert_close(matrix.grad, plain)


@pytest.mark.parametrize(
    ("progress", "expected"), [(0.0, 0.0), (0.1, 0.46211716), (0.5, 0.98661430), (1.0, 0.99990920)]
)
def test_the_schedule_by_hand(progress: float, expected: float) -> None:
    """2 / (1 + exp(-10 p)) - 1, which is tanh(5 p)."""
    assert adversary_schedule(progress) == pytest.approx(expected, abs=1e-8)
    assert adversary_schedule(progress) == pytest.approx(math.tanh(5 * progress))


def test_each_class_has_a_head_of_its_own() -> None:
    torch.manual_seed(0)
    heads = DomainHeads(5, 3, heads=2)
    features, labels = torch.randn(4, 5), torch.tensor([0, 1, 1, 0])
    scores = heads(features, labels)
    assert scores.shape == (4, 3)
    for row, label in enumerate(labels.tolist()):
        expected = heads.heads[label](features[row : row + 1])[0]
        torch.testing.assert_close(scores[row], expected)
    heads.zero_grad()
    scores[0].sum().backward(retain_graph=True)  # a row of class 0 teaches the head of class 0
    gradients = [head[1].weight.grad for head in heads.heads]  # pyright: ignore
    assert gradients[0].abs().sum() > 0
    assert gradients[1] is None or gradients[1].abs().sum() == 0


def test_one_head_does_not_look_at_the_class() -> None:
    heads = DomainHeads(5, 3, heads=1)
    features = torch.randn(4, 5)
    zeros, ones = torch.zeros(4, dtype=torch.int64), torch.ones(4, dtype=torch.int64)
    assert torch.equal(heads(features, zeros), heads(features, ones))


def test_the_scale_of_the_features_does_not_matter() -> None:
    heads = DomainHeads(16, 2, heads=1)
    features, labels = torch.randn(4, 16), torch.zeros(4, dtype=torch.int64)
    torch.testing.assert_close(
        heads(features, labels), heads(1000 * features, labels), atol=1e-3, rtol=1e-3
    )
