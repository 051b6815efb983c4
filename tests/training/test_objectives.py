"""Objectives: losses and weights by hand, gradients against numbers, figures of a pass."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from roadwork.errors import ConfigError
from roadwork.models.domain import adversary_schedule
from roadwork.settings import FinetuneSettings, LossSettings
from roadwork.training.objectives import (
    LABEL_LOSSES,
    OBJECTIVES,
    Objective,
    ObjectiveContext,
    Step,
    require_sources,
)
from roadwork.training.objectives.dann import DomainAdversarial
from roadwork.training.objectives.group_dro import GroupDro
from roadwork.training.strata import Strata, plan_draws
from tests.training.test_samplers import train_set

CELLS = {("a", 0): 2, ("a", 1): 6, ("b", 0): 6, ("b", 1): 2, ("c", 1): 4}


def build(method: str, cells: dict[tuple[str, int], int] = CELLS, **domain: Any) -> Objective:
    torch.manual_seed(0)
    wanted = FinetuneSettings.model_validate({"domain": {"method": method, **domain}})
    strata = Strata.of(train_set(cells))
    plan = plan_draws(strata, OBJECTIVES[method].balance, {})
    return OBJECTIVES[method].build(ObjectiveContext(wanted, strata, plan.drawn, width=6))


def step(domains: list[int], labels: list[int], losses: list[float], progress: float = 0.5) -> Step:
    torch.manual_seed(1)
    return Step(
        features=torch.randn(len(labels), 6, requires_grad=True),
        labels=torch.tensor(labels),
        domains=torch.tensor(domains),
        losses=torch.tensor(losses, requires_grad=True),
        progress=progress,
    )


def test_plain_training_is_the_mean() -> None:
    objective = build("none")
    batch = step([0, 1, 2], [0, 1, 1], [0.5, 1.0, 3.0])
    assert objective(batch).item() == pytest.approx(1.5)
    assert list(objective.parameters()) == []
    assert objective.report() == {}


def test_label_losses_are_one_for_each_row() -> None:
    wanted = LossSettings(label_smoothing=0.1)
    logits, labels = torch.tensor([[0.0, 0.0], [0.0, 2.0]]), torch.tensor([0, 1])
    losses = LABEL_LOSSES["cross_entropy"].build(wanted)(logits, labels)
    log = math.log(1 + math.exp(-2.0))
    assert losses.tolist() == pytest.approx([math.log(2), 0.95 * log + 0.05 * (2 + log)])


@pytest.mark.parametrize("method", ["dann", "cdann"])
def test_the_gradient_of_the_features_is_reversed_and_scaled(method: str) -> None:
    objective = build(method, weight=0.3)
    assert isinstance(objective, DomainAdversarial)
    batch = step([0, 1, 0, 1], [0, 1, 1, 0], [0.1, 0.2, 0.3, 0.4], progress=0.2)
    objective(batch).backward()

    def domain_loss(features: torch.Tensor) -> torch.Tensor:
        scores = objective.heads.double()(features, batch.labels)
        weights = objective.weights.double()[batch.domains, batch.labels]
        return (weights * functional.cross_entropy(scores, batch.domains, reduction="none")).mean()

    features = batch.features.detach().double()
    numerical = torch.zeros_like(features)
    with torch.no_grad():
        for index in range(features.numel()):
            moved = torch.zeros_like(features)
            moved.view(-1)[index] = 1e-5
            up, down = domain_loss(features + moved), domain_loss(features - moved)
            numerical.view(-1)[index] = (up - down) / 2e-5
    factor = -0.3 * adversary_schedule(0.2)
    assert batch.features.grad is not None
    torch.testing.assert_close(
        batch.features.grad.double(), factor * numerical, atol=1e-6, rtol=1e-4
    )
    # The label losses receive their own gradient, unchanged.
    assert batch.losses.grad is not None
    assert batch.losses.grad.tolist() == pytest.approx([0.25] * 4)


def test_at_the_start_the_network_is_left_alone_and_the_heads_learn() -> None:
    objective = build("dann")
    batch = step([0, 1, 2, 1], [0, 1, 1, 0], [0.1] * 4, progress=0.0)
    objective(batch).backward()
    assert batch.features.grad is not None
    assert batch.features.grad.abs().max() == 0
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in objective.parameters())


def test_within_what_is_aligned_every_source_counts_alike() -> None:
    """Expected weight, over what is drawn, of each source in each class."""
    strata = Strata.of(train_set(CELLS))
    for balance in ("none", "source", "source_and_class"):
        plan = plan_draws(strata, balance, {})
        context = ObjectiveContext(FinetuneSettings(), strata, plan.drawn, width=6)
        plain = OBJECTIVES["dann"].build(context).weights.numpy()  # pyright: ignore
        np.testing.assert_allclose((plain * plan.drawn).sum(axis=1), [1 / 3] * 3, rtol=1e-6)
        within = OBJECTIVES["cdann"].build(context).weights.numpy()  # pyright: ignore
        expected = [[1 / 4, 1 / 6], [1 / 4, 1 / 6], [0, 1 / 6]]  # class 0 has two sources, 1 three
        np.testing.assert_allclose(within * plan.drawn, expected, rtol=1e-6)


def test_a_class_of_one_source_takes_no_part_in_alignment() -> None:
    objective = build("cdann", {("a", 0): 5, ("a", 1): 5, ("b", 1): 5})
    batch = step([0, 0], [0, 0], [0.5, 0.5])
    assert objective(batch).item() == pytest.approx(0.5)
    with pytest.raises(ConfigError, match="each label occurs in one source alone"):
        build("cdann", {("a", 0): 5, ("b", 1): 5})


def test_the_accuracy_of_the_domain_heads_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recalls of the domains, averaged; then of the heads; then counting starts anew."""
    for method, expected, chance in (("dann", 0.5, 1 / 3), ("cdann", 0.5, (1 / 2 + 1 / 3) / 2)):
        objective = build(method)
        assert isinstance(objective, DomainAdversarial)
        answers = torch.tensor([0, 0, 1, 0, 1, 2, 0])
        monkeypatch.setattr(
            objective.heads,
            "forward",
            lambda features, labels, answers=answers: 9.0 * functional.one_hot(answers, 3).float(),
        )
        objective(step([0, 0, 1, 1, 1, 2, 2], [0, 1, 0, 0, 1, 1, 1], [0.1] * 7))
        report = objective.report()
        # dann: a 2/2, b 2/3, c 1/2. cdann: class 0: a 1/1, b 1/2; class 1: a 1, b 1, c 1/2.
        expected = (1 + 2 / 3 + 1 / 2) / 3 if method == "dann" else (3 / 4 + 5 / 6) / 2
        assert report["domain_accuracy"] == pytest.approx(expected)
        assert report["domain_chance"] == pytest.approx(chance)
        assert int(objective.totals.sum()) == 0


def test_the_worst_group_gains_weight_by_the_formula() -> None:
    objective = build("group_dro", group_step=0.5)
    assert isinstance(objective, GroupDro)
    assert objective.names == ["a/none", "a/roadwork", "b/none", "b/roadwork", "c/roadwork"]
    # Mean losses: a/none 2, b/roadwork 1, the others have no rows.
    batch = step([0, 0, 1], [0, 0, 1], [1.0, 3.0, 1.0])
    loss = objective(batch)
    raised = np.exp(0.5 * np.array([2.0, 0.0, 0.0, 1.0, 0.0])) / 5
    weights = raised / raised.sum()
    assert objective.weights.tolist() == pytest.approx(weights.tolist(), rel=1e-6)
    assert loss.item() == pytest.approx(weights[0] * 2 + weights[3] * 1, rel=1e-6)
    loss.backward()
    assert batch.losses.grad is not None
    assert batch.losses.grad.tolist() == pytest.approx([weights[0] / 2, weights[0] / 2, weights[3]])
    objective.eval()
    objective(batch)
    assert objective.weights.tolist() == pytest.approx(weights.tolist(), rel=1e-6)
    assert objective.report()["weight a/none"] == pytest.approx(weights[0], rel=1e-6)


def test_group_losses_are_not_rounded_under_autocast() -> None:
    plain, lowered = build("group_dro", group_step=0.5), build("group_dro", group_step=0.5)
    batch = step([0, 0, 1], [0, 0, 1], [1.003, 3.007, 1.001])
    expected = plain(batch)
    with torch.autocast("cpu", torch.bfloat16):
        found = lowered(batch)
    assert found.dtype == torch.float32
    assert found.item() == expected.item()
    assert torch.equal(lowered.weights, plain.weights)  # pyright: ignore[reportArgumentType]


def test_learned_state_is_in_the_state_dict() -> None:
    for method, names in (("group_dro", {"weights"}), ("dann", {"hits", "totals"})):
        objective = build(method)
        objective(step([0, 1], [0, 1], [1.0, 2.0]))
        state = objective.state_dict()
        assert names <= set(state)
        other = build(method)
        other.load_state_dict(state, strict=True)
        assert all(torch.equal(value, state[key]) for key, value in other.state_dict().items())


@pytest.mark.parametrize("method", ["dann", "cdann", "group_dro"])
def test_one_source_alone_is_refused(method: str) -> None:
    strata = Strata.of(train_set({("natix", 0): 2, ("natix", 1): 2}))
    with pytest.raises(ConfigError, match=rf"{method} compares sources, but all 4 .* from natix"):
        require_sources(method, strata)
    require_sources("none", strata)
