"""The teacher's schedules at points computed by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from roadwork.training.teacher import follow, teacher_momentum


def test_the_momentum_goes_by_a_cosine_to_one() -> None:
    assert teacher_momentum(0, 100, 0.99) == pytest.approx(0.99)
    assert teacher_momentum(50, 100, 0.99) == pytest.approx(0.995)
    assert teacher_momentum(25, 100, 0.9) == pytest.approx(1 - 0.1 * (1 + 0.5**0.5) / 2)
    assert teacher_momentum(100, 100, 0.99) == 1.0
    assert teacher_momentum(120, 100, 0.99) == 1.0
    values = [teacher_momentum(step, 100, 0.5) for step in range(101)]
    assert values == sorted(values)


def test_the_teacher_follows_what_trains() -> None:
    student, teacher = nn.Linear(2, 1), nn.Linear(2, 1).requires_grad_(False)
    student.bias.requires_grad_(False)
    with torch.no_grad():
        student.weight.fill_(1.0)
        teacher.weight.fill_(0.0)
        before = teacher.bias.clone()
    follow(teacher, student, 0.75)
    torch.testing.assert_close(teacher.weight, torch.full((1, 2), 0.25))
    assert torch.equal(teacher.bias, before)
