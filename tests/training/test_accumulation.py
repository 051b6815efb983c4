"""A batch computed in parts gives what the whole batch gives, for every optimizer and objective."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from roadwork.data.splits import Splits
from roadwork.models.adapters import trainable_state
from roadwork.training import supervised as module
from roadwork.training.accumulation import in_parts
from roadwork.training.finetune import finetune
from roadwork.training.optimizers import OPTIMIZERS
from tests.data import made
from tests.training.made_photos import photo_rows, small_backbone, small_settings


def deep() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [layer for _ in range(6) for layer in (nn.Linear(16, 16), nn.Tanh())]
    return nn.Sequential(*layers)


@pytest.mark.parametrize(
    ("rows", "parts", "lengths"),
    [(7, 3, [3, 2, 2]), (6, 2, [3, 3]), (5, 1, [5]), (2, 9, [1, 1]), (1, 4, [1])],
)
def test_parts_are_computed_in_turn_and_all_but_the_last_once_more(
    rows: int, parts: int, lengths: list[int]
) -> None:
    network, seen = deep(), []

    def features(batch: Any) -> Tensor:
        seen.append(len(batch["x"]))
        return network(batch["x"] + batch["shift"])

    batch = {"x": torch.randn(rows, 16), "shift": torch.randn(rows, 1)}
    found = in_parts(features, batch, parts)
    assert seen == lengths
    # A loss that is no mean over rows: the parts cannot be taken one by one.
    (found.std() * found.max()).backward()
    assert seen[len(lengths) :] == lengths[:-1][::-1]
    gradients = [p.grad.clone() for p in network.parameters() if p.grad is not None]
    network.zero_grad()
    whole = network(batch["x"] + batch["shift"])
    torch.testing.assert_close(found, whole)
    (whole.std() * whole.max()).backward()
    for found_gradient, p in zip(gradients, network.parameters(), strict=True):
        torch.testing.assert_close(found_gradient, p.grad, rtol=1e-5, atol=1e-7)


def test_no_more_than_one_parts_activations_are_kept() -> None:
    """Counted: bytes that the graph holds between the forward and the backward pass."""
    network = deep()
    batch = {"x": torch.randn(64, 16)}

    def held(parts: int) -> int:
        kept: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            kept[tensor.data_ptr()] = tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            in_parts(lambda rows: network(rows["x"]), batch, parts).sum()
        weights = {p.data_ptr() for p in network.parameters()}
        return sum(size for place, size in kept.items() if place not in weights)

    assert held(4) == held(1) / 4


def test_random_layers_draw_the_same_numbers_again() -> None:
    network = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5))
    batch = {"x": torch.randn(6, 8)}
    torch.manual_seed(3)
    found = in_parts(lambda rows: network(rows["x"]), batch, 3)
    found.sum().backward()
    by_hand = torch.where(found != 0, 2.0, 0.0)  # of each output, d sum / d (x w + b)
    torch.testing.assert_close(network[0].bias.grad, by_hand.sum(dim=0))


def weights_after(sets: Splits, folder: Path, parts: int, **finetuning: Any) -> dict[str, Tensor]:
    """What trained, after one pass of four batches of five rows."""
    settings = small_settings(
        finetune={"epochs": 1, **finetuning}, compute={"accumulate": parts, "checkpoint_every": 9}
    )
    found: dict[str, Tensor] = {}
    original = module.Supervised.on_validation_epoch_start

    def watched(self: Any) -> None:
        found.update(trainable_state(self))
        original(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module.Supervised, "on_validation_epoch_start", watched)
        finetune(small_backbone(settings), sets.train, sets.select, settings, folder)
    return found


def assert_close(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert set(one) == set(other)
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_takes_the_same_steps(name: str, sets: Splits, tmp_path: Path) -> None:
    """Five rows in three parts: two, two and one."""
    chosen = {"optimizer": {"name": name}}
    whole = weights_after(sets, tmp_path / "whole", 1, **chosen)
    assert_close(whole, weights_after(sets, tmp_path / "parts", 3, **chosen))


@pytest.fixture(scope="module")
def two_sources(tmp_path_factory: pytest.TempPathFactory) -> Splits:
    folder = tmp_path_factory.mktemp("two")
    parts = [photo_rows(folder, range(a, b)) for a, b in pairwise([0, 20, 32, 44, 56, 68])]
    for row in (row for part in parts for row in part):
        row["source"] = "natix" if row["sample_id"] < "8" else "mapillary"
    return made.splits(parts)


@pytest.mark.parametrize("method", ["dann", "cdann", "group_dro"])
def test_objectives_that_need_the_whole_batch_have_it(
    method: str, two_sources: Splits, tmp_path: Path
) -> None:
    chosen = {"domain": {"method": method, "weight": 1.0, "group_step": 0.5}}
    whole = weights_after(two_sources, tmp_path / "whole", 1, **chosen)
    assert_close(whole, weights_after(two_sources, tmp_path / "parts", 3, **chosen))
