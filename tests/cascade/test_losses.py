"""The objectives of a cascade: sums of their parts, by hand, and what a gradient reaches."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional

from roadwork.cascade.losses import CASCADE_OBJECTIVES, cascade_losses
from roadwork.settings import CascadeSettings
from roadwork.training.objectives.lcron import lcron_funnel_loss, two_sided_cascade_loss

GENERATOR = torch.Generator().manual_seed(0)
FIRST = torch.randn(24, 2, generator=GENERATOR)
SECOND = torch.randn(24, 2, generator=GENERATOR)
MARGINS = (FIRST[:, 1] - FIRST[:, 0], SECOND[:, 1] - SECOND[:, 0])
LABELS = (torch.arange(24) % 4 == 0).long()


def settings(**values: object) -> CascadeSettings:
    return CascadeSettings.model_validate(values)


def test_cross_entropy_by_hand() -> None:
    """p = 0.75 and 0.2 of the right class."""
    first = torch.tensor([[0.0, math.log(3.0)]])
    second = torch.tensor([[math.log(4.0), 0.0]])
    found = cascade_losses(first, second, torch.tensor([1]), settings())
    assert found.item() == pytest.approx(-math.log(0.75) - math.log(0.2))


def test_gatekeeper_by_hand() -> None:
    """Stage 1 right with 0.75 and wrong with 0.75; stage 2 undecided."""
    first = torch.tensor([[0.0, math.log(3.0)], [0.0, math.log(3.0)]])
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    found = cascade_losses(
        first, torch.zeros(2, 2), torch.tensor([1, 0]), settings(objective="gatekeeper", alpha=0.3)
    )
    own = (-0.3 * math.log(0.75) + 0.7 * (math.log(2) - entropy)) / 2
    assert found.item() == pytest.approx(own + math.log(2))


def test_lcron_is_the_funnel_and_its_anchor() -> None:
    weights = torch.tensor([0.3, -0.2])
    chosen = settings(objective="lcron", keep=0.3, anchor=0.25)
    found = cascade_losses(FIRST, SECOND, LABELS, chosen, weights)
    funnel = lcron_funnel_loss(*MARGINS, LABELS, math.ceil(0.3 * 24), weights)
    plain = sum(functional.cross_entropy(x, LABELS) for x in (FIRST, SECOND))
    torch.testing.assert_close(found, funnel + 0.25 * plain)


def test_the_funnel_is_never_narrower_than_its_positives() -> None:
    chosen = settings(objective="lcron", keep=0.01, anchor=0.0)
    found = cascade_losses(FIRST, SECOND, LABELS, chosen)
    torch.testing.assert_close(found, lcron_funnel_loss(*MARGINS, LABELS, 6, torch.zeros(2)))


def test_two_sided_without_an_anchor_learns_nothing_where_stage_1_is_sure_and_wrong() -> None:
    """p1 is all but 1: P(roadwork) = sigma(1) + (sigma(9) - sigma(1)) p2; the label is "none"."""
    first = torch.tensor([20.0], requires_grad=True)
    second, label = torch.tensor([0.0]), torch.tensor([0])
    loss = two_sided_cascade_loss(first, second, label, 0.1, 0.9)
    at_once = 1 / (1 + math.exp(-1.0))
    passed = 1 / (1 + math.exp(-9.0)) - at_once
    assert at_once == pytest.approx(0.731, abs=1e-3)
    assert loss.item() == pytest.approx(-math.log(1 - at_once - passed / 2), abs=1e-4)
    loss.backward()
    assert first.grad is not None and abs(first.grad.item()) < 1e-6
    with pytest.raises(ValidationError, match="needs an anchor above 0"):
        settings(objective="two_sided", anchor=0.0)


def test_two_sided_is_the_cascade_and_its_anchor() -> None:
    chosen = settings(objective="two_sided", low=0.2, high=0.7, anchor=0.5)
    found = cascade_losses(FIRST, SECOND, LABELS, chosen)
    plain = sum(functional.cross_entropy(x, LABELS) for x in (FIRST, SECOND))
    expected = two_sided_cascade_loss(*MARGINS, LABELS, 0.2, 0.7) + 0.5 * plain
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", CASCADE_OBJECTIVES)
def test_gradients_reach_both_stages_and_the_learned_weights(name: str) -> None:
    first, second = FIRST.clone().requires_grad_(), SECOND.clone().requires_grad_()
    weights = torch.zeros(2, requires_grad=True)
    loss = cascade_losses(first, second, LABELS, settings(objective=name), weights)
    loss.backward()
    assert loss.shape == ()
    for logits in (first, second):
        assert logits.grad is not None and float(logits.grad.abs().max()) > 1e-5
    learned = weights.grad is not None and bool(weights.grad.any())
    assert learned == CASCADE_OBJECTIVES[name].learned_weights


@pytest.mark.parametrize("name", CASCADE_OBJECTIVES)
def test_half_precision_is_computed_in_full(name: str) -> None:
    chosen = settings(objective=name)
    found = cascade_losses(FIRST.bfloat16(), SECOND.bfloat16(), LABELS, chosen)
    expected = cascade_losses(FIRST.bfloat16().float(), SECOND.bfloat16().float(), LABELS, chosen)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("name", CASCADE_OBJECTIVES)
def test_a_batch_of_one_class_is_finite(name: str, label: int) -> None:
    labels = torch.full((24,), label)
    assert torch.isfinite(cascade_losses(FIRST, SECOND, labels, settings(objective=name)))


def test_the_settings_name_the_registry() -> None:
    field = CascadeSettings.model_json_schema()["properties"]["objective"]
    assert set(field["enum"]) == set(CASCADE_OBJECTIVES)


def test_exits_out_of_order_are_refused() -> None:
    with pytest.raises(ValidationError, match="not in order"):
        settings(objective="two_sided", low=0.9, high=0.1)


def test_logits_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"logits of shape \(24, 2\)"):
        cascade_losses(FIRST[:, :1], SECOND, LABELS, settings())
