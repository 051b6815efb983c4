"""Self-distillation losses against numbers computed by hand; the teacher; the crops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image

from roadwork.data.loading import row_generator
from roadwork.training.crops import GLOBAL_CROPS, LOCAL_CROPS, _box, make_crops
from roadwork.training.dino import DinoHead, DinoLoss, koleo


def test_the_loss_is_the_cross_entropy_between_different_crops() -> None:
    """Temperatures of 1; teacher scores of log-probabilities give these probabilities back."""
    loss = DinoLoss(2, student_temperature=1.0, teacher_temperature=1.0)
    teacher = torch.log(torch.tensor([[[0.75, 0.25]], [[0.5, 0.5]]]))
    student = torch.log(torch.tensor([[[0.9, 0.1]], [[0.2, 0.8]], [[0.5, 0.5]]]))
    # Pairs (teacher's crop, student's crop): (0, 1), (0, 2), (1, 0), (1, 2).
    terms = [
        -(0.75 * math.log(0.2) + 0.25 * math.log(0.8)),
        math.log(2),
        -(0.5 * math.log(0.9) + 0.5 * math.log(0.1)),
        math.log(2),
    ]
    assert float(loss(student, teacher)) == pytest.approx(sum(terms) / 4, abs=1e-6)


def test_temperatures_and_the_centre_enter_as_in_the_paper() -> None:
    loss = DinoLoss(2, student_temperature=0.5, teacher_temperature=0.25)
    loss.centre.copy_(torch.tensor([0.2, 0.0]))
    # (0.45 - 0.2, 0) / 0.25 = (1, 0)
    target = math.e / (math.e + 1)
    found = loss.targets(torch.tensor([0.45, 0.0]))
    torch.testing.assert_close(found, torch.tensor([target, 1 - target]))
    teacher = torch.tensor([[[0.45, 0.0]]])
    student = torch.tensor([[[9.0, 9.0]], [[0.5, 0.0]]])
    log_p = 1 - math.log(math.e + 1)
    expected = -(target * log_p - (1 - target) * math.log(math.e + 1))
    assert float(loss(student, teacher)) == pytest.approx(expected, abs=1e-6)


def test_photographs_of_a_batch_are_averaged() -> None:
    loss = DinoLoss(5)
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(4, 3, 5, generator=generator)
    teacher = torch.randn(2, 3, 5, generator=generator)
    alone = [loss(student[:, n : n + 1], teacher[:, n : n + 1]) for n in range(3)]
    torch.testing.assert_close(loss(student, teacher), torch.stack(alone).mean())


def test_the_centre_moves_by_a_tenth_towards_the_mean() -> None:
    loss = DinoLoss(2, centre_momentum=0.9)
    loss.centre.copy_(torch.tensor([1.0, -1.0]))
    scores = torch.tensor([[[2.0, 0.0], [4.0, 2.0]], [[6.0, 4.0], [8.0, 6.0]]])  # mean (5, 3)
    loss.update_centre(scores)
    torch.testing.assert_close(loss.centre, torch.tensor([1.4, -0.6]))
    assert "centre" in loss.state_dict()


def test_the_teacher_gets_no_gradient() -> None:
    loss = DinoLoss(3)
    student = torch.randn(3, 2, 3, requires_grad=True)
    teacher = torch.randn(2, 2, 3, requires_grad=True)
    loss(student, teacher).backward()
    assert teacher.grad is None
    assert student.grad is not None and float(student.grad.abs().sum()) > 0


def test_the_loss_is_least_when_the_student_says_what_the_teacher_says() -> None:
    loss = DinoLoss(4, student_temperature=1.0, teacher_temperature=1.0)
    scores = torch.tensor([2.0, 0.0, -1.0, 0.5])
    teacher = scores.expand(2, 1, 4)
    least = float(loss(teacher, teacher))
    p = torch.softmax(scores, dim=0)
    assert least == pytest.approx(float(-(p * p.log()).sum()), abs=1e-6)  # its entropy
    for shift in torch.eye(4):
        assert float(loss(teacher + 0.3 * shift, teacher)) > least


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
    head = DinoHead(8, prototypes=6, hidden=12, bottleneck=4)
    features = torch.randn(5, 8)
    scores = head(features)
    assert scores.shape == (5, 6)
    inner = head.layers(features)
    expected = torch.nn.functional.cosine_similarity(inner[:, None], head.prototypes[None], dim=-1)
    torch.testing.assert_close(scores, expected, atol=1e-6, rtol=1e-5)


def test_crops_depend_on_the_seed_the_pass_and_the_row_alone() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    first = make_crops(image, 16, row_generator(1, 2, 3))
    assert first.shape == (GLOBAL_CROPS + LOCAL_CROPS, 16, 16, 3)
    assert (make_crops(image, 16, row_generator(1, 2, 3)) == first).all()
    for key in [(0, 2, 3), (1, 0, 3), (1, 2, 0)]:
        assert (make_crops(image, 16, row_generator(*key)) != first).any()
    assert (first[0] != first[1]).any()


@pytest.mark.parametrize(("width", "height"), [(60, 40), (16, 300), (300, 16), (17, 17)])
@pytest.mark.parametrize("scale", [(0.4, 1.0), (0.12, 0.4)])
def test_boxes_lie_in_the_picture(width: int, height: int, scale: tuple[float, float]) -> None:
    rng = np.random.default_rng(0)
    boxes = np.array([_box(width, height, scale, rng) for _ in range(500)])
    left, top, right, bottom = boxes.T
    assert (left >= 0).all() and (top >= 0).all()
    assert (right <= width + 1e-9).all() and (bottom <= height + 1e-9).all()
    shares = (right - left) * (bottom - top) / (width * height)
    assert (shares > 0).all()
    assert (shares <= scale[1] + 1e-9).all()
    if max(width, height) < 2 * min(width, height):  # elsewhere the ratio is cut at the edge
        assert np.median(shares) > scale[0]


def test_a_flat_picture_gives_flat_crops() -> None:
    """Resampling reads no pixel outside the picture."""
    image = Image.new("RGB", (33, 21), (200, 30, 90))
    for row in range(20):
        crops = make_crops(image, 16, row_generator(0, 0, row))
        assert (crops == np.array([200, 30, 90])).all()
