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


def cosines(head: PrototypeHead, features: torch.Tensor) -> torch.Tensor:
    """Of all pairs of different rows before the prototypes."""
    with torch.no_grad():
        unit = torch.nn.functional.normalize(head.layers(features), dim=-1)
    above = torch.triu(torch.ones(len(unit), len(unit)), diagonal=1).bool()
    return (unit @ unit.T)[above]


def test_standardised_heads_see_past_what_all_features_share() -> None:
    torch.manual_seed(0)
    head = PrototypeHead(48, prototypes=16, hidden=64)
    features = 30 * torch.randn(48) + torch.randn(64, 48)
    scores = head(features).detach()
    assert float(cosines(head, features).mean()) > 0.99
    assert float(scores.std(dim=0).mean()) < 0.05 * float(scores.std())
    prototypes = head.prototypes.detach().clone()
    head.standardise(features)
    assert abs(float(cosines(head, features).mean())) < 0.05
    # Other features of the same kind are told apart too, and what is alike stays alike.
    others = features.mean(dim=0) + torch.randn(64, 48)
    assert abs(float(cosines(head, others).mean())) < 0.1
    near = torch.stack([others[0], others[0] + 0.05 * torch.randn(48)])
    assert float(cosines(head, near)) > 0.9
    assert torch.equal(head.prototypes, prototypes)


def test_every_layer_begins_with_mean_zero_and_deviation_one() -> None:
    torch.manual_seed(0)
    head = PrototypeHead(6, prototypes=4, hidden=10, bottleneck=5)
    features = 3 + torch.randn(32, 6) * torch.tensor([0.1, 1, 1, 1, 1, 20])
    raw = head.layers[0](features).detach()
    head.standardise(features)
    expected = (raw - raw.mean(dim=0)) / raw.std(dim=0, correction=0)
    torch.testing.assert_close(head.layers[0](features).detach(), expected, atol=1e-5, rtol=1e-5)
    values = features
    for layer in head.layers:
        values = layer(values).detach()
        if isinstance(layer, torch.nn.Linear):
            torch.testing.assert_close(
                values.mean(dim=0), torch.zeros(values.shape[1]), atol=1e-5, rtol=0
            )
            deviation = values.std(dim=0, correction=0)
            torch.testing.assert_close(deviation, torch.ones(values.shape[1]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("rows", [1, 8])
def test_features_that_do_not_differ_leave_the_scale(rows: int) -> None:
    torch.manual_seed(0)
    head = PrototypeHead(6, prototypes=4, hidden=10, bottleneck=5)
    weights = [layer.weight.clone() for layer in head.layers if isinstance(layer, torch.nn.Linear)]
    head.standardise(torch.full((rows, 6), 7.0))
    after = [layer.weight for layer in head.layers if isinstance(layer, torch.nn.Linear)]
    assert all(torch.equal(a, b) for a, b in zip(weights, after, strict=True))
    assert bool(torch.isfinite(head(torch.randn(3, 6))).all())
