"""Self-distillation losses against numbers computed by hand."""

from __future__ import annotations

import math

import pytest
import torch

from roadwork.training.dino import PrototypeHead, dino_loss, koleo


def test_the_loss_is_the_cross_entropy_between_different_crops() -> None:
    """A temperature of 1; scores of log-probabilities give these probabilities back."""
    targets = torch.tensor([[[0.75, 0.25]], [[0.5, 0.5]]])
    student = torch.log(torch.tensor([[[0.9, 0.1]], [[0.2, 0.8]], [[0.5, 0.5]]]))
    # Pairs (teacher's crop, student's crop): (0, 1), (0, 2), (1, 0), (1, 2).
    terms = [
        -(0.75 * math.log(0.2) + 0.25 * math.log(0.8)),
        math.log(2),
        -(0.5 * math.log(0.9) + 0.5 * math.log(0.1)),
        math.log(2),
    ]
    assert float(dino_loss(student, targets, 1.0)) == pytest.approx(sum(terms) / 4, abs=1e-6)


def test_the_temperature_divides_the_students_scores() -> None:
    targets = torch.tensor([[[0.7, 0.3]]])
    student = torch.tensor([[[9.0, 9.0]], [[0.1, 0.0]]])
    log_p = 1 - math.log(math.e + 1)
    expected = -(0.7 * log_p - 0.3 * math.log(math.e + 1))
    assert float(dino_loss(student, targets)) == pytest.approx(expected, abs=1e-6)


def test_photographs_of_a_batch_are_averaged() -> None:
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(4, 3, 5, generator=generator)
    targets = torch.randn(2, 3, 5, generator=generator).softmax(dim=-1)
    alone = [dino_loss(student[:, n : n + 1], targets[:, n : n + 1]) for n in range(3)]
    torch.testing.assert_close(dino_loss(student, targets), torch.stack(alone).mean())


def test_the_loss_is_least_when_the_student_says_what_the_teacher_says() -> None:
    scores = torch.tensor([2.0, 0.0, -1.0, 0.5])
    p = torch.softmax(scores, dim=0)
    targets = p.expand(2, 1, 4)
    least = float(dino_loss(scores.expand(2, 1, 4), targets, 1.0))
    assert least == pytest.approx(float(-(p * p.log()).sum()), abs=1e-6)  # its entropy
    for shift in torch.eye(4):
        assert float(dino_loss((scores + 0.3 * shift).expand(2, 1, 4), targets, 1.0)) > least


def test_koleo_by_hand() -> None:
    """Unit vectors at 0°, 60° and 180°: nearest distances 1, 1 and sqrt(3)."""
    angles = torch.deg2rad(torch.tensor([0.0, 60.0, 180.0]))
    # Lengths do not matter.
    points = torch.stack([angles.cos(), angles.sin()], dim=1) * torch.tensor([[1.0], [5.0], [0.2]])
    assert float(koleo(points)) == pytest.approx(-math.log(3) / 2 / 3, abs=1e-5)


def test_koleo_pushes_neighbours_apart_and_survives_equal_and_single_points() -> None:
    points = torch.tensor([[1.0, 0.1], [1.0, -0.1], [-1.0, 0.0]], requires_grad=True)
    koleo(points).backward()
    assert points.grad is not None
    assert float(points.grad[0, 1]) < 0 < float(points.grad[1, 1])  # against the gradient: apart
    equal = torch.ones(2, 3, requires_grad=True)
    value = koleo(equal)
    value.backward()
    assert math.isfinite(value.item())
    assert equal.grad is not None and bool(torch.isfinite(equal.grad).all())
    assert float(koleo(torch.ones(1, 3))) == 0.0


def test_prototype_scores_are_cosines() -> None:
    torch.manual_seed(0)
    head = PrototypeHead(8, prototypes=6, hidden=12, bottleneck=4)
    features = torch.randn(5, 8)
    scores = head(features)
    assert scores.shape == (5, 6)
    inner = head.layers(features)
    expected = torch.nn.functional.cosine_similarity(inner[:, None], head.prototypes[None], dim=-1)
    torch.testing.assert_close(scores, expected, atol=1e-6, rtol=1e-5)


def test_new_heads_tell_features_apart_from_the_start() -> None:
    """With torch's own start, biases would make all answers alike."""
    torch.manual_seed(0)
    head = PrototypeHead(48, prototypes=16, hidden=64)
    scores = head(torch.randn(64, 48)).detach()
    assert float(scores.std(dim=0).mean()) > 0.5 * float(scores.std())
    assert not any(bool(p.any()) for n, p in head.named_parameters() if n.endswith("bias"))
