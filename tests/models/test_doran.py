"""DoRAN and DoRA: exact at the start, right by hand, merged without loss, never a silent LoRA."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from roadwork.errors import BundleError
from roadwork.models.adapters import ADAPTERS, load_adapter, save_adapter, trainable
from roadwork.models.adapters.doran import Magnitude, effective_weight
from roadwork.models.adapters.files import AdapterRecord
from roadwork.models.adapters.injection import lora_layers
from roadwork.models.backbone import build_network, state_hash
from tests.training.made_photos import NAME

PICO, LITE0 = "vit_pico_patch16_dinov3", "tf_efficientnet_lite0"
BACKBONES = pytest.mark.parametrize("name", [PICO, LITE0])
KINDS = pytest.mark.parametrize("kind", ["dora", "doran_tau", "doran_full"])


def network_of(name: str) -> nn.Module:
    torch.manual_seed(4)
    return build_network(name, 32, random=True).eval()


def pictures(count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(9))


def perturb(network: nn.Module, scale: float = 0.02) -> None:
    """Move every trained weight a little, so that nothing is zero or at its start."""
    generator = torch.Generator().manual_seed(8)
    with torch.no_grad():
        for _, parameter in trainable(network):
            parameter.add_(torch.randn(parameter.shape, generator=generator) * scale)


@KINDS
@BACKBONES
def test_the_start_is_the_plain_network_and_training_changes_it(kind: str, name: str) -> None:
    network = network_of(name)
    with torch.no_grad():
        before = network(pictures())
        ADAPTERS[kind].prepare(network, name, 2, 4)
        start = network(pictures())
        perturb(network)
        changed = network(pictures())
    if kind == "dora":  # PEFT's own: it divides by a norm that it computes in another order
        torch.testing.assert_close(start, before, atol=1e-5, rtol=1e-5)
    else:
        assert torch.equal(start, before)
    assert float((changed - before).abs().max()) > 1e-3


@KINDS
@BACKBONES
def test_every_trained_weight_has_a_gradient_and_no_other(kind: str, name: str) -> None:
    network = network_of(name)
    ADAPTERS[kind].prepare(network, name, 2, 4)
    perturb(network)
    network(pictures()).square().sum().backward()
    names = dict(trainable(network))
    for key, parameter in network.named_parameters():
        if key in names:
            assert parameter.grad is not None and float(parameter.grad.abs().max()) > 1e-9, key
        else:
            assert parameter.grad is None, key
    assert any("magnitude" in key for key in names)
    if kind == "doran_full":
        assert not any("lora_A" in key or "lora_B" in key for key in names)


@KINDS
@BACKBONES
def test_merging_keeps_the_answers_and_leaves_plain_layers(kind: str, name: str) -> None:
    network = network_of(name)
    keys = list(network.state_dict())
    ADAPTERS[kind].prepare(network, name, 2, 4)
    perturb(network)
    with torch.no_grad():
        before = network(pictures())
        ADAPTERS[kind].merge(network)
        after = network(pictures())
    assert float((after - before).abs().max()) < 1e-5 * max(1.0, float(before.abs().max()))
    assert list(network.state_dict()) == keys
    assert not any(isinstance(module, LoraLayer) for module in network.modules())


def layer_with(kind: str, weight: list[list[float]]) -> tuple[nn.Module, LoraLayer, Magnitude]:
    """The first adapted layer of a network, its weight replaced by a small one."""

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q_proj = nn.Linear(len(weight[0]), len(weight), bias=False)
            self.q_proj.weight.data = torch.tensor(weight)

    network = nn.Module()
    network.blocks = nn.ModuleList([nn.Module()])
    network.blocks[0].attn = Attention()
    ADAPTERS[kind].prepare(network, NAME, 1, 2)
    layer = lora_layers(network)["blocks.0.attn.q_proj"]
    magnitude = layer.lora_magnitude_vector["default"]
    assert isinstance(magnitude, Magnitude)
    return network, layer, magnitude


def test_the_formula_by_hand() -> None:
    """W0 = [[3, 4], [0, 5]], A = [[1, 0]], B = [[1], [2]], s = 2: W0 + s B A = [[5, 4], [4, 5]]."""
    _, layer, magnitude = layer_with("doran_tau", [[3.0, 4.0], [0.0, 5.0]])
    assert magnitude.tau.item() == pytest.approx(0.05)  # 1 % of the mean row norm, 5
    assert magnitude.weight.tolist() == pytest.approx([5.05, 5.05])
    with torch.no_grad():
        layer.lora_A["default"].weight.copy_(torch.tensor([[1.0, 0.0]]))
        layer.lora_B["default"].weight.copy_(torch.tensor([[1.0], [2.0]]))
        magnitude.weight.copy_(torch.tensor([2.0, 3.0]))
        magnitude.rho.copy_(torch.tensor(math.log(math.e - 1)))  # softplus gives 1
    norm = math.sqrt(41)  # of both rows
    expected = [
        [2 / (norm + 1) * 5, 2 / (norm + 1) * 4],
        [3 / (norm + 1) * 4, 3 / (norm + 1) * 5],
    ]
    torch.testing.assert_close(effective_weight(layer), torch.tensor(expected))
    x = torch.tensor([[1.0, -2.0]])
    answer = layer(x)  # pyright: ignore[reportCallIssue]
    torch.testing.assert_close(answer, x @ torch.tensor(expected).T)


def test_the_gradient_of_tau_by_hand() -> None:
    """d/d tau of m / (n + tau) is -m / (n + tau)^2; nothing flows through the norm."""
    _, layer, magnitude = layer_with("doran_tau", [[3.0, 4.0]])
    x = torch.tensor([[1.0, 1.0]])
    layer(x).sum().backward()  # pyright: ignore[reportCallIssue]
    tau, m = magnitude.tau.item(), magnitude.weight.item()
    slope = torch.sigmoid(magnitude.rho.detach())  # of softplus
    assert magnitude.rho.grad is not None
    assert float(magnitude.rho.grad) == pytest.approx(float(-m / (5 + tau) ** 2 * 7 * slope))
    # With the norm held, dL/dB = s x A^T times the gain of one.
    a = layer.lora_A["default"].weight.detach()
    b_grad = layer.lora_B["default"].weight.grad
    torch.testing.assert_close(b_grad, 2.0 * (x @ a.T).T)


def test_the_factored_norm_is_the_dense_one() -> None:
    generator = torch.Generator().manual_seed(0)
    weight, a = torch.randn(7, 5, generator=generator), torch.randn(3, 5, generator=generator)
    b = torch.randn(7, 3, generator=generator)
    magnitude = Magnitude(weight)
    dense = (weight + 0.5 * b @ a).norm(dim=1)
    expected = magnitude.weight / (dense + magnitude.tau)
    torch.testing.assert_close(magnitude.gain(weight, a, b, 0.5), expected)


def test_a_tiny_tau_is_dora() -> None:
    """With tau at zero and equal factors, PEFT's DoRA computes the same."""
    weight = torch.randn(6, 4, generator=torch.Generator().manual_seed(1)).tolist()
    _, ours, magnitude = layer_with("doran_tau", weight)

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q_proj = nn.Linear(4, 6, bias=False)
            self.q_proj.weight.data = torch.tensor(weight)

    network = nn.Module()
    network.blocks = nn.ModuleList([nn.Module()])
    network.blocks[0].attn = Attention()
    ADAPTERS["dora"].prepare(network, NAME, 1, 2)
    theirs = lora_layers(network)["blocks.0.attn.q_proj"]
    with torch.no_grad():
        magnitude.weight.copy_(torch.tensor(weight).norm(dim=1))
        magnitude.rho.fill_(-40.0)
        for layer in (ours, theirs):
            layer.lora_A["default"].weight.copy_(torch.tensor([[0.3, -0.2, 0.5, 0.1]]))
            layer.lora_B["default"].weight.copy_(torch.linspace(-1, 1, 6)[:, None])
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(ours(x), theirs(x))  # pyright: ignore[reportCallIssue]


def test_the_layers_of_a_block_share_their_factors() -> None:
    network = network_of(NAME)
    ADAPTERS["doran_full"].prepare(network, NAME, 2, 4)
    layers = lora_layers(network)
    shared = {name: layer.lora_magnitude_vector["default"].shared for name, layer in layers.items()}
    assert shared["blocks.0.attn.q_proj"] is shared["blocks.0.attn.v_proj"]
    assert shared["blocks.0.attn.q_proj"] is not shared["blocks.1.attn.q_proj"]
    magnitude = layers["blocks.0.attn.q_proj"].lora_magnitude_vector["default"]
    assert isinstance(magnitude, Magnitude) and magnitude.shared is not None
    with torch.no_grad():
        magnitude.u_b.fill_(0.1)
    part = magnitude.shared
    a = functional.gelu(part.z_a @ part.v_a) @ magnitude.u_a
    b = (functional.gelu(part.z_b @ part.v_b) @ magnitude.u_b).T
    weight = layers["blocks.0.attn.q_proj"].get_base_layer().weight
    dense = weight + 2.0 * b @ a
    gain = magnitude.weight / (dense.norm(dim=1) + magnitude.tau)
    found = effective_weight(layers["blocks.0.attn.q_proj"])
    torch.testing.assert_close(found, gain[:, None] * dense)


def record_of(kind: str, plain: nn.Module) -> AdapterRecord:
    weights = state_hash(plain.state_dict())
    return AdapterRecord(adapter=kind, backbone=NAME, weights=weights, rank=2, alpha=4)


@pytest.mark.parametrize("kind", ["doran_tau", "doran_full"])
def test_bf16_does_not_round_a_gain_near_one_to_one(kind: str) -> None:
    """0.3 % is less than half the distance from 1 to the next number of 16 bits."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(64, 64, generator=generator)
    _, layer, magnitude = layer_with(kind, weight.tolist())
    x = torch.randn(512, 64, generator=generator)
    base = layer.get_base_layer()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        plain = base(x)
        assert torch.equal(layer(x), plain)
        magnitude.weight.mul_(1.003)
        found = layer(x)
    assert found.dtype == torch.bfloat16
    assert torch.tensor(1.003).bfloat16() == 1.0
    by_hand = (1.003 * plain.float()).bfloat16()
    assert (by_hand != plain).float().mean() > 0.5
    assert (found == by_hand).float().mean() > 0.99


@pytest.mark.parametrize("kind", ["lora", "dora", "doran_tau", "doran_full"])
def test_saved_adapters_come_back_as_what_they_were(kind: str, tmp_path: Path) -> None:
    network = network_of(NAME)
    record = record_of(kind, network)
    ADAPTERS[kind].prepare(network, NAME, 2, 4)
    perturb(network)
    save_adapter(network, record, tmp_path)
    again = network_of(NAME)
    assert load_adapter(again, NAME, tmp_path) == record
    with torch.no_grad():
        assert torch.equal(again(pictures()), network(pictures()))


def test_what_does_not_match_is_refused(tmp_path: Path) -> None:
    network = network_of(NAME)
    whole = record_of("doran_tau", network)
    ADAPTERS["doran_tau"].prepare(network, NAME, 2, 4)
    save_adapter(network, whole, tmp_path)
    with pytest.raises(BundleError, match="not for vit_pico"):
        load_adapter(network_of(PICO), PICO, tmp_path)
    path = tmp_path / "adapter.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "adapter": "lora"}))
    with pytest.raises(BundleError, match=r"not those of lora .*magnitude"):
        load_adapter(network_of(NAME), NAME, tmp_path)
    path.write_text(json.dumps({**record, "rank": 3}))
    with pytest.raises(BundleError, match="their shapes"):
        load_adapter(network_of(NAME), NAME, tmp_path)
    path.write_text(json.dumps({**record, "adapter": "magic"}))
    with pytest.raises(BundleError, match="known are lora"):
        load_adapter(network_of(NAME), NAME, tmp_path)
    path.write_text(json.dumps(record))
    weights = load_file(tmp_path / "adapter.safetensors")
    save_file(dict(list(weights.items())[1:]), tmp_path / "adapter.safetensors")
    with pytest.raises(BundleError, match="differ"):
        load_adapter(network_of(NAME), NAME, tmp_path)
    (tmp_path / "adapter.safetensors").write_bytes(b"garbage")
    with pytest.raises(BundleError, match="cannot be read"):
        load_adapter(network_of(NAME), NAME, tmp_path)


def test_an_adapter_of_other_weights_is_refused(tmp_path: Path) -> None:
    network = network_of(NAME)
    record = record_of("lora", network)
    ADAPTERS["lora"].prepare(network, NAME, 2, 4)
    save_adapter(network, record, tmp_path)
    other = network_of(NAME)
    with torch.no_grad():
        other.get_parameter("blocks.0.attn.q_proj.weight")[0, 0] += 1e-3
    with pytest.raises(BundleError, match=f"trained on other weights of {NAME}: load those first"):
        load_adapter(other, NAME, tmp_path)


@pytest.mark.parametrize("change", ["kind", "rank"])
def test_a_refused_adapter_leaves_the_network_as_it_was(change: str, tmp_path: Path) -> None:
    network = network_of(NAME)
    record = record_of("doran_full", network)
    ADAPTERS["doran_full"].prepare(network, NAME, 2, 4)
    update = {"adapter": "lora"} if change == "kind" else {"rank": 3}
    save_adapter(network, record.model_copy(update=update), tmp_path)
    found = network_of(NAME)
    found.get_parameter("blocks.0.attn.q_proj.weight").requires_grad_(False)
    before = [(name, p.requires_grad) for name, p in found.named_parameters()]
    with pytest.raises(BundleError, match="are not those of"):
        load_adapter(found, NAME, tmp_path)
    assert [(name, p.requires_grad) for name, p in found.named_parameters()] == before
    assert not lora_layers(found)
    assert state_hash(found.state_dict()) == record.weights
    assert found(pictures()).requires_grad
