"""Adapters: they start as nothing, learn, and return into plain weights."""

from __future__ import annotations

import pytest
import torch
from peft.tuners.lora import LoraLayer
from torch import nn

from roadwork.errors import TrainingError
from roadwork.models.adapters import (
    ADAPTERS,
    add_lora,
    explora_parameters,
    freeze_batch_statistics,
    last_block,
    merge_lora,
    restore_trainable,
    trainable,
    trainable_state,
)
from roadwork.models.backbone import build_network
from tests.training.made_photos import NAME

PICO, LITE0 = "vit_pico_patch16_dinov3", "tf_efficientnet_lite0"
BOTH = pytest.mark.parametrize("name", [PICO, LITE0])


def network_of(name: str) -> nn.Module:
    torch.manual_seed(4)
    return build_network(name, 32, random=True).eval()


def pictures(count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(9))


def perturb(network: nn.Module, scale: float = 0.02) -> None:
    generator = torch.Generator().manual_seed(8)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)


@BOTH
def test_adapters_start_as_nothing_and_then_matter(name: str) -> None:
    network = network_of(name)
    with torch.no_grad():
        before = network(pictures())
        adapted = add_lora(network, name, rank=2, alpha=4)
        assert torch.equal(network(pictures()), before)
        perturb(network)
        changed = network(pictures())
    assert len(adapted) == {PICO: 12, LITE0: 32}[name]
    assert float((changed - before).abs().max()) > 1e-3


@BOTH
def test_gradients_reach_the_adapters_alone(name: str) -> None:
    network = network_of(name)
    add_lora(network, name, rank=2, alpha=4)
    perturb(network)  # with B at zero, A has no gradient
    network(pictures()).square().sum().backward()
    names = dict(trainable(network))
    assert names
    assert all("lora_A" in key or "lora_B" in key for key in names)
    for key, parameter in network.named_parameters():
        if key in names:
            assert parameter.grad is not None and float(parameter.grad.abs().max()) > 1e-6, key
        else:
            assert parameter.grad is None, key


def test_transformers_are_adapted_at_queries_and_values_alone() -> None:
    network = network_of(NAME)
    assert add_lora(network, NAME, rank=2, alpha=4) == [
        "blocks.0.attn.q_proj",
        "blocks.0.attn.v_proj",
        "blocks.1.attn.q_proj",
        "blocks.1.attn.v_proj",
    ]


@BOTH
def test_merging_keeps_the_answers_and_leaves_plain_layers(name: str) -> None:
    network = network_of(name)
    kinds = [(key, type(module)) for key, module in network.named_modules()]
    keys = list(network.state_dict())
    add_lora(network, name, rank=2, alpha=4)
    perturb(network)
    with torch.no_grad():
        before = network(pictures())
        merge_lora(network)
        after = network(pictures())
    assert float((after - before).abs().max()) < 1e-5 * max(1.0, float(before.abs().max()))
    assert [(key, type(module)) for key, module in network.named_modules()] == kinds
    assert list(network.state_dict()) == keys
    assert not any(isinstance(module, LoraLayer) for module in network.modules())
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_the_update_is_scaled_by_alpha_over_rank() -> None:
    network = network_of(NAME)
    before = network.get_parameter("blocks.0.attn.q_proj.weight").detach().clone()
    add_lora(network, NAME, rank=2, alpha=6)
    perturb(network)
    a = network.get_parameter("blocks.0.attn.q_proj.lora_A.default.weight")
    b = network.get_parameter("blocks.0.attn.q_proj.lora_B.default.weight")
    expected = before + 3.0 * (b @ a).detach()
    merge_lora(network)
    found = network.get_parameter("blocks.0.attn.q_proj.weight")
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_adapting_nothing_is_an_error() -> None:
    with pytest.raises(TrainingError, match="nothing would be adapted"):
        add_lora(nn.Sequential(nn.Linear(4, 4)), NAME, rank=2, alpha=4)
    with pytest.raises(TrainingError, match="nothing would be adapted"):
        add_lora(network_of(NAME), NAME, rank=2, alpha=4, exclude=r".*blocks\..*")


def test_explora_trains_the_last_block_the_norms_the_class_token_and_lora_elsewhere() -> None:
    network = network_of(PICO)
    norms = {
        f"blocks.{b}.norm{n}.{part}"
        for b in range(6)
        for n in (1, 2)
        for part in ("weight", "bias")
    }
    last = {name for name, _ in network.named_parameters() if name.startswith("blocks.5.")}
    adapted = add_lora(network, PICO, rank=2, alpha=2, exclude=last_block(network))
    explora_parameters(network)
    assert adapted == [f"blocks.{b}.attn.{part}" for b in range(5) for part in ("q_proj", "v_proj")]
    lora = {f"{layer}.lora_{part}.default.weight" for layer in adapted for part in "AB"}
    expected = norms | last | lora | {"norm.weight", "norm.bias", "cls_token"}
    assert {name for name, _ in trainable(network)} == expected


def test_the_last_block_is_not_mistaken_for_one_whose_number_ends_alike() -> None:
    """Of 12 blocks the last is 11; block 1 must keep its adapters."""
    import re

    network = nn.Module()
    network.blocks = nn.ModuleList([nn.Identity() for _ in range(2)])
    pattern = last_block(network)
    assert re.fullmatch(pattern, "blocks.1.attn.q_proj")
    assert not re.fullmatch(pattern, "blocks.11.attn.q_proj")
    assert not re.fullmatch(pattern, "blocks.0.attn.q_proj")


@pytest.mark.parametrize(("adapter", "some"), [("full", True), ("none", False)])
def test_the_other_ways_change_no_layer(adapter: str, some: bool) -> None:
    network = network_of(NAME)
    keys = list(network.state_dict())
    assert ADAPTERS[adapter].prepare(network, NAME, 2, 4) == []
    flags = {parameter.requires_grad for parameter in network.parameters()}
    assert flags == {some}
    ADAPTERS[adapter].merge(network)
    assert list(network.state_dict()) == keys
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_batch_statistics_stay_when_frozen() -> None:
    network = network_of(LITE0)
    before = {k: v.clone() for k, v in network.state_dict().items() if "running" in k}
    network.train()
    freeze_batch_statistics(network)
    network(pictures(4))
    after = network.state_dict()
    assert all(torch.equal(after[key], tensor) for key, tensor in before.items())
    network.train()
    network(pictures(4))
    assert not all(torch.equal(network.state_dict()[key], t) for key, t in before.items())


def test_trained_weights_are_copied_and_put_back() -> None:
    network = network_of(NAME)
    add_lora(network, NAME, rank=2, alpha=4)
    state = trainable_state(network)
    assert set(state) == {name for name, _ in trainable(network)}
    perturb(network)
    assert any(not torch.equal(state[name], p) for name, p in trainable(network))
    restore_trainable(network, state)
    assert all(torch.equal(state[name], p) for name, p in trainable(network))
