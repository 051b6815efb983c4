"""Layer-wise decay by hand, on a vision transformer and a convolutional network."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from roadwork.data.splits import Splits
from roadwork.models.adapters import ADAPTERS
from roadwork.models.backbone import BACKBONES, build_network
from roadwork.models.classifier import RoadworkNetwork
from roadwork.settings import ViewSettings
from roadwork.training import supervised as module
from roadwork.training.finetune import finetune
from roadwork.training.layer_decay import layer_depths, weight_groups
from tests.training.made_photos import NAME, small_backbone, small_settings

LITE0 = "tf_efficientnet_lite0"


def network(name: str, adapter: str = "full") -> nn.Module:
    """What trains, under the names that it has in a run."""
    with torch.device("meta"):
        backbone = build_network(name, 32)
    ADAPTERS[adapter].prepare(backbone, name, 2, 4)
    holder = nn.Module()
    holder.network = RoadworkNetwork(backbone, name, ViewSettings(tiles=0), 2)
    holder.objective = nn.Linear(2, 2)
    return holder


def rates(module: nn.Module, decay: float) -> dict[str, float]:
    """Rate of every parameter that trains."""
    names = {id(p): name for name, p in module.named_parameters()}
    groups = weight_groups(module, 1.0, 0.1, decay)
    return {names[id(p)]: group["lr"] for group in groups for p in group["params"]}


def test_a_transformer_of_two_blocks_by_hand() -> None:
    found = rates(network(NAME), 0.5)
    backbone = "network.backbone."
    expected = {
        "network.head.weight": 1.0,
        "network.head.bias": 1.0,
        "objective.weight": 1.0,
        f"{backbone}norm.weight": 1.0,
        f"{backbone}blocks.1.attn.q_proj.weight": 0.5,
        f"{backbone}blocks.1.gamma_2": 0.5,
        f"{backbone}blocks.0.mlp.fc1.bias": 0.25,
        f"{backbone}patch_embed.proj.weight": 0.125,
        f"{backbone}cls_token": 0.125,
        f"{backbone}reg_token": 0.125,
    }
    assert {name: found[name] for name in expected} == expected
    assert set(found.values()) == {1.0, 0.5, 0.25, 0.125}
    assert len(found) == len(list(network(NAME).named_parameters()))


def test_the_convolutional_network_by_hand() -> None:
    """Lite0 has 1 + 2 + 2 + 3 + 3 + 4 + 1 = 16 blocks in seven stages."""
    depths = layer_depths(name for name, _ in network(LITE0).named_parameters())
    backbone = "network.backbone."
    expected = {
        f"{backbone}conv_stem.weight": 0,
        f"{backbone}bn1.weight": 0,
        f"{backbone}blocks.0.0.conv_dw.weight": 1,
        f"{backbone}blocks.1.0.conv_pw.weight": 2,
        f"{backbone}blocks.1.1.bn1.weight": 3,
        f"{backbone}blocks.3.2.conv_pwl.weight": 8,
        f"{backbone}blocks.6.0.conv_pw.weight": 16,
        f"{backbone}conv_head.weight": 17,
        f"{backbone}bn2.bias": 17,
        "network.head.weight": 17,
        "objective.bias": 17,
    }
    assert {name: depths[name] for name in expected} == expected
    assert set(depths.values()) == set(range(18))


@pytest.mark.parametrize("adapter", ["lora", "dora", "doran_tau", "doran_full"])
@pytest.mark.parametrize("name", [NAME, LITE0])
def test_adapters_belong_to_the_layer_that_they_adapt(adapter: str, name: str) -> None:
    trained = network_on_cpu(name, adapter)
    depths = layer_depths(n for n, _ in trained.named_parameters())
    found = rates(trained, 0.5)
    top = max(depths.values())
    adapters = [n for n in found if ".lora_" in n]
    assert len(adapters) >= 4
    for parameter in adapters:
        plain = parameter.partition(".lora_")[0] + ".base_layer.weight"
        assert found[parameter] == 0.5 ** (top - depths[plain])
    assert found["network.head.weight"] == 1.0


def network_on_cpu(name: str, adapter: str, rank: int = 2) -> nn.Module:
    backbone = build_network(name, 32)
    ADAPTERS[adapter].prepare(backbone, name, rank, 4)
    holder = nn.Module()
    holder.network = RoadworkNetwork(backbone, name, ViewSettings(tiles=0), 2)
    return holder


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_every_part_of_every_backbone_has_a_place(name: str) -> None:
    """A backbone with parts of other names must be sorted in by hand, not taken for a head."""
    names = [n for n, _ in network(name).named_parameters()]
    depths = layer_depths(names)
    tops = {
        n.split(".")[2] for n in names if ".backbone." in n and depths[n] == max(depths.values())
    }
    assert tops <= {"norm", "conv_head", "bn2"}
    bottoms = {n.split(".")[2] for n in names if depths[n] == 0}
    assert bottoms == (
        {"cls_token", "reg_token", "patch_embed"}
        if BACKBONES[name].transformer
        else {"conv_stem", "bn1"}
    )


def test_without_decay_there_are_two_groups_and_no_backbone_is_needed() -> None:
    plain = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3))
    plain[1].bias.requires_grad_(False)
    matrices, vectors = weight_groups(plain, 0.2, 0.1)
    assert [tuple(p.shape) for p in matrices["params"]] == [(3, 2)]
    assert len(vectors["params"]) == 2
    assert (matrices["weight_decay"], vectors["weight_decay"]) == (0.1, 0.0)
    assert matrices["lr"] == vectors["lr"] == 0.2


@pytest.mark.parametrize("adapter", ["lora", "dora", "doran_tau", "doran_full"])
@pytest.mark.parametrize("name", [NAME, LITE0])
def test_magnitudes_do_not_decay_and_factors_of_rank_one_do(adapter: str, name: str) -> None:
    """PEFT's magnitude of a convolution and A of rank 1 have the same form, (1, n, 1, 1)."""
    trained = network_on_cpu(name, adapter, rank=1)
    names = {id(p): n for n, p in trained.named_parameters()}
    decays = {
        names[id(p)]: group["weight_decay"] > 0
        for group in weight_groups(trained, 1.0, 0.1)
        for p in group["params"]
    }
    magnitudes = [n for n in decays if n.endswith("lora_magnitude_vector.default.weight")]
    factors = [n for n in decays if re.search(r"lora_[AB]\.|\.u_[ab]$", n)]
    assert bool(magnitudes) == (adapter != "lora")
    assert factors
    assert not any(decays[n] for n in magnitudes)
    assert all(decays[n] for n in factors)
    if adapter == "dora" and name == LITE0:
        assert {trained.get_parameter(n).ndim for n in magnitudes} == {4}


def test_tokens_do_not_decay() -> None:
    plain = network(NAME)
    groups = weight_groups(plain, 1.0, 0.1)
    vectors = {id(p) for group in groups if not group["weight_decay"] for p in group["params"]}
    for token in ("cls_token", "reg_token"):
        assert id(plain.get_parameter(f"network.backbone.{token}")) in vectors
    assert id(plain.get_parameter("network.backbone.patch_embed.proj.weight")) not in vectors


def test_groups_have_stable_names_and_an_order() -> None:
    groups = weight_groups(network(NAME), 1.0, 0.1, 0.5)
    assert [group["name"] for group in groups] == [
        f"{kind}, {below} below the head" for below in range(4) for kind in ("matrices", "vectors")
    ]
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0] * 4


def test_the_first_step_of_a_run_is_shorter_below(
    sets: Splits, checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AdamW's first step is as long as the rate, wherever there is a gradient."""
    moved: dict[str, float] = {}
    original = module.Supervised.optimizer_step

    def optimizer_step(self: Any, *arguments: Any) -> None:
        before = {name: p.detach().clone() for name, p in self.named_parameters()}
        original(self, *arguments)
        if not moved:
            moved.update(
                {n: float((p.detach() - before[n]).abs().max()) for n, p in self.named_parameters()}
            )

    monkeypatch.setattr(module.Supervised, "optimizer_step", optimizer_step)
    settings = small_settings(
        finetune={"layer_decay": 0.5, "adapter": "full", "epochs": 1, "weight_decay": 0.0}
    )
    finetune(small_backbone(settings), sets.train, sets.select, settings, checkpoints)
    rate = 0.01 / 2  # the first of two warm-up factors
    backbone = "network.backbone."
    assert moved["network.head.weight"] == pytest.approx(rate, rel=0.01)
    assert moved[f"{backbone}blocks.1.mlp.fc1.weight"] == pytest.approx(rate / 2, rel=0.01)
    assert moved[f"{backbone}blocks.0.mlp.fc1.weight"] == pytest.approx(rate / 4, rel=0.01)
    assert moved[f"{backbone}patch_embed.proj.weight"] == pytest.approx(rate / 8, rel=0.01)
