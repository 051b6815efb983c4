"""Optimizers against hand-computed steps."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from roadwork.training.optimizers.sam import Sharpness
from roadwork.training.optimizers.sophia import SophiaG, sampled_labels


def parameter(*values: float) -> nn.Parameter:
    return nn.Parameter(torch.tensor(values))


def test_sam_goes_to_the_worst_neighbour_and_back() -> None:
    """g = (3, 4) has norm 5: with rho 0.5 the excursion is (0.3, 0.4)."""
    w, frozen = parameter(1.0, 1.0), nn.Parameter(torch.tensor([7.0]), requires_grad=False)
    w.grad = torch.tensor([3.0, 4.0])
    sharpness = Sharpness([w, frozen], rho=0.5)
    assert sharpness.ascend() == pytest.approx(5.0)
    assert w.tolist() == pytest.approx([1.3, 1.4])
    assert frozen.item() == 7.0
    sharpness.descend()
    assert w.tolist() == [1.0, 1.0]


def test_sam_norm_runs_over_all_parameters() -> None:
    a, b = parameter(0.0), parameter(0.0)
    a.grad, b.grad = torch.tensor([3.0]), torch.tensor([4.0])
    Sharpness([a, b], rho=1.0).ascend()
    assert (a.item(), b.item()) == pytest.approx((0.6, 0.8))


def test_sam_without_a_gradient_moves_nothing() -> None:
    w = parameter(1.0)
    sharpness = Sharpness([w], rho=1.0)
    assert sharpness.ascend() == 0.0
    w.grad = torch.zeros(1)
    assert sharpness.ascend() == 0.0
    assert w.item() == 1.0
    sharpness.descend()
    assert w.item() == 1.0


def test_sam_on_a_quadratic_by_hand() -> None:
    """f = w^2 at w = 1: g = 2, neighbour 1 + rho, gradient there 2 (1 + rho), step from 1."""
    w = parameter(1.0)
    base = torch.optim.SGD([w], lr=0.1)
    sharpness = Sharpness([w], rho=0.2)
    w.square().sum().backward()
    sharpness.ascend()
    base.zero_grad()
    w.square().sum().backward()
    sharpness.descend()
    base.step()
    assert w.item() == pytest.approx(1 - 0.1 * 2 * 1.2)


def test_sophia_by_hand() -> None:
    """Curvature 10 * 0.5^2 * 0.01 = 0.025; momentum 0.04; ratio 0.04 / (0.05 * 0.025) = 32 -> 1."""
    w = parameter(1.0, 1.0)
    optimizer = SophiaG([w], lr=0.1, weight_decay=0.5)
    w.grad = torch.tensor([0.5, 0.0])
    optimizer.update_curvature(10)
    assert optimizer.state[w]["curvature"].tolist() == pytest.approx([0.025, 0.0])
    w.grad = torch.tensor([1.0, -1e-15])
    optimizer.step()
    # Without curvature the ratio is -4e-17 / 1e-12.
    assert w.tolist() == pytest.approx([0.95 - 0.1, 0.95 + 0.1 * 4e-5])


def test_sophia_takes_the_newton_step_where_it_is_not_clipped() -> None:
    w = parameter(3.0)
    optimizer = SophiaG([w], lr=1.0, betas=(0.0, 0.0), gamma=1.0)
    w.grad = torch.tensor([2.0])
    optimizer.update_curvature(1)  # 4
    w.grad = torch.tensor([2.0])
    optimizer.step()
    assert w.item() == pytest.approx(3.0 - 2.0 / 4.0)


def test_sophia_state_is_saved_and_loaded() -> None:
    def run(steps: int, optimizer: SophiaG, w: nn.Parameter) -> None:
        for _ in range(steps):
            w.grad = w.detach() - 0.3
            optimizer.update_curvature(2)
            optimizer.step()

    one, two = parameter(1.0, -2.0), parameter(1.0, -2.0)
    whole, first = SophiaG([one], lr=0.05), SophiaG([two], lr=0.05)
    run(6, whole, one)
    run(3, first, two)
    second = SophiaG([two], lr=0.05)
    second.load_state_dict(first.state_dict())
    run(3, second, two)
    assert torch.equal(one, two)


def test_sampled_labels_follow_the_model() -> None:
    logits = torch.tensor([[0.0, math.log(3.0)]]).repeat(20_000, 1)
    share = sampled_labels(logits, torch.Generator().manual_seed(0)).float().mean().item()
    assert abs(share - 0.75) < 4 * math.sqrt(0.75 * 0.25 / 20_000)


def test_the_curvature_is_the_gauss_newton_diagonal_on_average() -> None:
    """Logistic regression with one weight: E[B g_hat^2] = mean p (1 - p) x^2."""
    x = torch.tensor([0.5, -1.0, 2.0, 1.5])
    w = 0.4
    p = torch.sigmoid(w * x)
    generator = torch.Generator().manual_seed(1)
    estimates = []
    for _ in range(4000):
        logits = torch.stack([torch.zeros(4), w * x], dim=1)
        y = sampled_labels(logits, generator)
        gradient = ((p - y) * x).mean()
        estimates.append(4 * gradient.square())
    found = torch.stack(estimates)
    expected = (p * (1 - p) * x.square()).mean()
    assert abs(found.mean() - expected) < 4 * found.std() / math.sqrt(4000)
