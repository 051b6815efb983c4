"""Focal loss, Gatekeeper, LCRON and the two-sided cascade loss against numbers by hand."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch.nn import functional

from roadwork.training.objectives.focal import FocalLoss
from roadwork.training.objectives.gatekeeper import GatekeeperLoss
from roadwork.training.objectives.lcron import (
    lcron_funnel_loss,
    neural_sort,
    survival,
    two_sided_cascade_loss,
)


def logits_of(*p: float) -> torch.Tensor:
    """Two-class logits with these probabilities of class 1."""
    p_tensor = torch.tensor(p, dtype=torch.float64)
    return torch.stack([torch.zeros(len(p), dtype=torch.float64), torch.logit(p_tensor)], dim=1)


def test_focal_by_hand() -> None:
    found = FocalLoss(2.0)(logits_of(0.9, 0.25), torch.tensor([1, 0]))
    expected = [-(0.1**2) * math.log(0.9), -(0.25**2) * math.log(0.75)]
    assert found.tolist() == pytest.approx(expected)


def test_focal_without_gamma_is_cross_entropy() -> None:
    logits = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(20) % 3
    expected = functional.cross_entropy(logits, labels, reduction="none")
    torch.testing.assert_close(FocalLoss(0.0)(logits, labels), expected)


def test_gatekeeper_by_hand() -> None:
    """Right with 0.8: alpha CE. Wrong with 0.9: (1 - alpha) (log 2 - H(0.9))."""
    found = GatekeeperLoss(0.3)(logits_of(0.8, 0.9), torch.tensor([1, 0]))
    entropy = -(0.9 * math.log(0.9) + 0.1 * math.log(0.1))
    assert found.tolist() == pytest.approx([-0.3 * math.log(0.8), 0.7 * (math.log(2) - entropy)])


@pytest.mark.parametrize("p", [0.55, 0.7, 0.99])
def test_gatekeeper_pulls_wrong_answers_to_one_half(p: float) -> None:
    """The gradient of a wrong row points to one half and vanishes there."""
    score = torch.tensor([math.log(p / (1 - p))], requires_grad=True)
    logits = torch.stack([torch.zeros(1), score], dim=1)
    GatekeeperLoss(0.5)(logits, torch.tensor([0])).sum().backward()
    assert score.grad is not None and score.grad.item() > 0
    score = torch.tensor([1e-6], requires_grad=True)
    logits = torch.stack([torch.zeros(1), score], dim=1)
    GatekeeperLoss(0.5)(logits, torch.tensor([0])).sum().backward()
    assert score.grad is not None and abs(score.grad.item()) < 1e-6


def test_gatekeeper_with_many_classes_is_zero_at_the_uniform_wrong_answer() -> None:
    logits = torch.zeros(1, 5)
    assert GatekeeperLoss(0.5)(logits, torch.tensor([3])).item() == pytest.approx(0, abs=1e-6)


def test_neural_sort_rows_sum_to_one_and_harden() -> None:
    scores = torch.tensor([0.3, 2.0, -1.0, 0.9])
    order = neural_sort(scores, 1.0)
    torch.testing.assert_close(order.sum(dim=1), torch.ones(4))
    hard = neural_sort(scores, 0.01)
    torch.testing.assert_close(hard.argmax(dim=1), scores.argsort(descending=True))
    torch.testing.assert_close(hard.max(dim=1).values, torch.ones(4))


def test_neural_sort_by_hand_for_two() -> None:
    """Standardised scores 1 and -1: distances 2 each; row 1 softmax((1-2, -1-2) / 2)."""
    order = neural_sort(torch.tensor([5.0, 3.0]), 1.0)
    first = 1 / (1 + math.exp(-1.0))
    torch.testing.assert_close(
        order, torch.tensor([[first, 1 - first], [1 - first, first]]), atol=1e-5, rtol=0
    )


def test_survival_is_the_share_of_the_best() -> None:
    order = torch.tensor([[0.7, 0.2, 0.1], [0.2, 0.5, 0.3], [0.1, 0.3, 0.6]])
    kept, dropped = survival(order, 2)
    torch.testing.assert_close(kept, torch.tensor([0.9, 0.7, 0.4]), atol=1e-5, rtol=0)
    torch.testing.assert_close(dropped, torch.tensor([0.1, 0.3, 0.6]), atol=1e-5, rtol=0)


def test_the_dropped_have_a_gradient_of_their_own() -> None:
    """d log(dropped) / d order: one over the sum of the lower rows there, nothing in the upper."""
    order = torch.tensor([[0.7, 0.2, 0.1], [0.2, 0.5, 0.3], [0.1, 0.3, 0.6]], requires_grad=True)
    _, dropped = survival(order, 1)
    dropped.log().sum().backward()
    expected = torch.tensor([[0.0] * 3, [1 / 0.3, 1 / 0.8, 1 / 0.9], [1 / 0.3, 1 / 0.8, 1 / 0.9]])
    torch.testing.assert_close(order.grad, expected, atol=1e-4, rtol=1e-4)


def test_the_product_bounds_the_survival_from_below() -> None:
    """E over hard first stages of what the second keeps among survivors, by enumeration (N = 5)."""
    generator = torch.Generator().manual_seed(3)
    for _ in range(20):
        p1 = torch.rand(5, generator=generator, dtype=torch.float64)
        p2 = torch.rand(5, generator=generator, dtype=torch.float64)
        exact = torch.zeros(5, dtype=torch.float64)
        for bits in itertools.product((0.0, 1.0), repeat=5):
            kept = torch.tensor(bits, dtype=torch.float64)
            if not kept.any():
                continue
            probability = (p1 * kept + (1 - p1) * (1 - kept)).prod()
            share = (kept * p2).sum() / p2.sum()
            exact += probability * kept * p2 / share
        assert (exact >= p1 * p2 - 1e-9).all()


def test_lcron_prefers_the_right_order() -> None:
    labels = torch.tensor([1, 1, 0, 0, 0, 0])
    good = torch.tensor([3.0, 2.0, 0.0, -1.0, -2.0, -3.0])
    zero = torch.zeros(2)

    def loss(first: torch.Tensor, second: torch.Tensor) -> float:
        return lcron_funnel_loss(first, second, labels, 4, zero, 0.3).item()

    assert loss(good, good) < loss(good, -good)
    assert loss(good, good) < loss(-good, good) < loss(-good, -good)


def test_lcron_by_hand_for_two_items() -> None:
    """Both stages equal: survival of the best s = sigma(1), of the other 1 - s; keep = 1."""
    scores, labels = torch.tensor([5.0, 3.0]), torch.tensor([1, 0])
    found = lcron_funnel_loss(scores, scores, labels, 1, torch.tensor([0.2, -0.4]), 1.0)
    s = 1 / (1 + math.exp(-1.0))
    whole = -(math.log(s * s) + math.log(1 - (1 - s) ** 2)) / 2
    single = -(math.log(s) + math.log(s)) / 2
    expected = whole + 0.5 * (math.exp(-0.2) + math.exp(0.4)) * single + 0.5 * (0.2 - 0.4)
    assert found.item() == pytest.approx(expected, abs=1e-4)


def test_lcron_gradients_reach_both_stages() -> None:
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(32, generator=generator, requires_grad=True)
    second = torch.randn(32, generator=generator, requires_grad=True)
    weights = torch.zeros(2, requires_grad=True)
    labels = (torch.arange(32) % 4 == 0).long()
    lcron_funnel_loss(first, second, labels, 12, weights).backward()
    for tensor in (first, second, weights):
        assert tensor.grad is not None
        assert torch.isfinite(tensor.grad).all() and float(tensor.grad.abs().max()) > 1e-6


def test_lcron_learns_a_funnel() -> None:
    """Each scorer starts with mostly noise and learns to weigh what tells the label."""
    generator = torch.Generator().manual_seed(1)
    labels = (torch.rand(96, generator=generator) < 0.25).long()
    telling = 2.5 * labels + torch.randn(96, generator=generator)
    x = torch.stack([telling, torch.randn(96, generator=generator)], dim=1)
    w = torch.tensor([[0.2, 1.0], [0.2, -1.0]], requires_grad=True)
    weights = torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.Adam([w, weights], lr=0.05)
    losses = []
    for _ in range(80):
        optimizer.zero_grad()
        scores = x @ w.T
        loss = lcron_funnel_loss(scores[:, 0], scores[:, 1], labels, 40, weights)
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
    ratio = (w[:, 0] / w[:, 1].abs()).tolist()
    assert min(ratio) > 2 and losses[-1] < losses[0]


def test_lcron_does_not_undo_what_cross_entropy_taught() -> None:
    """From scores that mostly tell the classes apart, on a long list."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(256) % 2
    signs = (2 * labels - 1)[:, None]
    x = torch.randn(256, 24, generator=generator) + 0.35 * signs * (torch.arange(24) < 6)
    w = [torch.zeros(24, requires_grad=True) for _ in range(2)]

    def right() -> float:
        return float(((x @ w[0].detach() > 0) == (labels == 1)).float().mean())

    def train(steps: int, loss: Callable[[], torch.Tensor]) -> float:
        optimizer = torch.optim.Adam(w, lr=0.02)
        for _ in range(steps):
            optimizer.zero_grad()
            loss().backward()
            optimizer.step()
        return right()

    plain = functional.binary_cross_entropy_with_logits
    start = train(60, lambda: plain(x @ w[0], labels.float()) + plain(x @ w[1], labels.float()))
    zero = torch.zeros(2)
    after = train(60, lambda: lcron_funnel_loss(x @ w[0], x @ w[1], labels, 128, zero))
    assert start > 0.75
    assert after > start - 0.02


@pytest.mark.parametrize("labels", [[0, 0, 0], [1, 1, 1]])
def test_a_list_of_one_class_teaches_nothing(labels: list[int]) -> None:
    scores = torch.randn(3, requires_grad=True)
    loss = lcron_funnel_loss(scores, scores, torch.tensor(labels), 2, torch.zeros(2))
    loss.backward()
    assert loss.item() == 0.0
    assert scores.grad is not None and not scores.grad.any()


@pytest.mark.parametrize("keep", [0, 4])
def test_an_impossible_funnel_is_refused(keep: int) -> None:
    scores = torch.randn(3)
    with pytest.raises(ValueError, match="keeps 1 to 3"):
        lcron_funnel_loss(scores, scores, torch.tensor([0, 1, 0]), keep, torch.zeros(2))


def test_the_two_sided_loss_by_hand() -> None:
    """p1 = 0.5 between the exits 0.3 and 0.7, T = 0.2: yes = sigma(-1), passed = sigma(1) - yes."""
    found = two_sided_cascade_loss(
        torch.tensor([0.0]), torch.tensor([math.log(3.0)]), torch.tensor([1]), 0.3, 0.7, 0.2
    )
    yes = 1 / (1 + math.e)
    passed = 1 / (1 + math.exp(-1.0)) - yes
    assert found.item() == pytest.approx(-math.log(yes + passed * 0.75), abs=1e-5)


def test_a_sure_first_stage_leaves_the_second_alone() -> None:
    first = torch.tensor([12.0, -12.0])
    second = torch.tensor([-5.0, 5.0], requires_grad=True)
    loss = two_sided_cascade_loss(first, second, torch.tensor([1, 0]), 0.2, 0.8, 0.02)
    loss.backward()
    assert loss.item() < 1e-3
    assert second.grad is not None and float(second.grad.abs().max()) < 1e-3


@pytest.mark.parametrize(("low", "high"), [(0.7, 0.3), (0.0, 0.5), (0.5, 1.0)])
def test_exits_out_of_order_are_refused(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="in order"):
        two_sided_cascade_loss(torch.zeros(1), torch.zeros(1), torch.tensor([1]), low, high)
