"""The masked patch loss, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from roadwork.training.ibot import ibot_loss


def test_every_crop_weighs_the_same_however_much_of_it_is_hidden() -> None:
    """Three crops: one hidden patch, none, two. Temperature 1; scores are log-probabilities."""
    mask = torch.tensor([[False, True, False], [False, False, False], [True, False, True]])
    student = torch.log(torch.tensor([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]]))
    targets = torch.tensor([[0.75, 0.25], [1.0, 0.0], [0.0, 1.0]])
    first = -(0.75 * math.log(0.9) + 0.25 * math.log(0.1))
    third = (math.log(2) - math.log(0.8)) / 2
    found = ibot_loss(student, targets, mask, temperature=1.0)
    assert float(found) == pytest.approx((first + 0.0 + third) / 3, abs=1e-6)


def test_the_temperature_divides_the_students_scores() -> None:
    mask = torch.tensor([[True]])
    scores, targets = torch.tensor([[0.1, 0.0]]), torch.tensor([[1.0, 0.0]])
    assert float(ibot_loss(scores, targets, mask)) == pytest.approx(math.log(1 + math.exp(-1)))


def test_gradients_reach_the_student_alone_and_survive_a_batch_without_masks() -> None:
    mask = torch.tensor([[True, True], [False, False]])
    student = torch.randn(2, 4, requires_grad=True)
    ibot_loss(student, torch.full((2, 4), 0.25), mask).backward()
    assert student.grad is not None and float(student.grad.abs().sum()) > 0
    empty = torch.empty(0, 4, requires_grad=True)
    loss = ibot_loss(empty, torch.empty(0, 4), torch.zeros(2, 2, dtype=torch.bool))
    loss.backward()
    assert float(loss.detach()) == 0.0
