"""Execution: compiled, in another layout or in 16 bits, training computes the same."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from roadwork.errors import ConfigError
from roadwork.models.adapters import add_lora, merge_lora, trainable, trainable_state
from roadwork.models.backbone import build_network, load_backbone
from roadwork.models.classifier import attach_head
from roadwork.models.compilation import compile_backbone, compiled
from roadwork.models.execution import execution
from roadwork.settings import BackboneSettings, ComputeSettings, ViewSettings
from tests.training.made_photos import NAME

PICO, LITE0 = "vit_pico_patch16_dinov3", "tf_efficientnet_lite0"


def network_of(name: str) -> nn.Module:
    torch.manual_seed(4)
    return build_network(name, 32, random=True).eval()


def pictures(count: int = 4) -> torch.Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(9))


def step(
    network: nn.Module, head: nn.Module, optimizer: torch.optim.Optimizer, bf16: bool = False
) -> float:
    labels = torch.tensor([0, 1, 0, 1])
    optimizer.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        loss = nn.functional.cross_entropy(head(network(pictures())).float(), labels)
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def parts(name: str, rate: float = 1e-3) -> tuple[nn.Module, nn.Module, torch.optim.AdamW]:
    """A network with adapters, a linear layer, and their optimizer."""
    network = network_of(name)
    add_lora(network, name, rank=2, alpha=4)
    torch.manual_seed(5)
    head = nn.Linear(int(network.num_features), 2)  # pyright: ignore[reportArgumentType]
    weights = [*(p for _, p in trainable(network)), *head.parameters()]
    return network, head, torch.optim.AdamW(weights, lr=rate)


class Recorded:
    """A stand-in for the compiler, which takes minutes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.modes: list[str] = []
        self.calls = 0
        monkeypatch.setattr(torch, "compile", self._compile)

    def _compile(self, function: Any, mode: str) -> Any:
        self.modes.append(mode)

        def run(*args: Any) -> Any:
            self.calls += 1
            return function(*args)

        return run


MODES = ["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"]


@pytest.mark.parametrize("mode", MODES)
def test_the_backbone_is_compiled_in_place_and_plain_again(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = Recorded(monkeypatch)
    network = network_of(NAME)
    keys = list(network.state_dict())
    with torch.no_grad():
        plain = network(pictures())
        with compiled(network, mode):
            assert torch.equal(network(pictures()), plain)
            assert (recorded.modes, recorded.calls) == ([mode], 1)
            assert list(network.state_dict()) == keys
            assert not any("_orig_mod" in name for name, _ in network.named_modules())
            assert torch.equal(copy.deepcopy(network)(pictures()), plain)
        network(pictures())
    assert recorded.calls == 1


def test_off_compiles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = Recorded(monkeypatch)
    monkeypatch.setenv("CXX", "no-such-compiler")
    network = network_of(NAME)
    with compiled(network, "off"):
        network(pictures())
    assert recorded.modes == []


def test_without_a_compiler_the_message_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("CXX", "no-such-compiler --flag")
    network = network_of(NAME)
    with pytest.raises(ConfigError, match=r"C\+\+ compiler, and there is no no-such-compiler"):
        compile_backbone(network, "default")
    assert network._compiled_call_impl is None


@pytest.mark.slow
def test_compiled_training_is_eager_training(caplog: pytest.LogCaptureFixture) -> None:
    """The real compiler: equal within rounding, states interchangeable, few graphs."""
    from torch._dynamo.utils import counters

    plain, plain_head, plain_optimizer = parts(NAME)
    other, other_head, other_optimizer = parts(NAME)
    first = step(plain, plain_head, plain_optimizer)
    # A plain checkpoint, continued by a compiled run.
    step(other, other_head, other_optimizer)
    saved = copy.deepcopy((other.state_dict(), other_head.state_dict()))
    saved_optimizer = copy.deepcopy(other_optimizer.state_dict())
    other, other_head, other_optimizer = parts(NAME)
    counters.clear()
    with execution(other, ComputeSettings(compile="default", precision="32")) as record:
        other.load_state_dict(saved[0], strict=True)
        other_head.load_state_dict(saved[1], strict=True)
        other_optimizer.load_state_dict(saved_optimizer)
        expected = [step(plain, plain_head, plain_optimizer) for _ in range(3)]
        found = [step(other, other_head, other_optimizer) for _ in range(3)]
        with torch.inference_mode():
            for count in (4, 3, 2):
                torch.testing.assert_close(
                    other(pictures(count)), plain(pictures(count)), atol=1e-4, rtol=1e-4
                )
        state = trainable_state(other)
    assert record["compile"] == "default"
    assert found == pytest.approx(expected, abs=1e-4)
    assert abs(expected[-1] - first) > 1e-2
    assert counters["stats"]["unique_graphs"] <= 4
    # And back: what the compiled run learned is a plain network's state.
    assert set(state) == {name for name, _ in trainable(plain)}
    for name, weight in trainable(plain):
        torch.testing.assert_close(state[name], weight.detach(), atol=2e-4, rtol=1e-3)
    merge_lora(other)
    torch.export.export(other, (pictures(),))


def test_the_record_names_what_was_chosen() -> None:
    network = network_of(LITE0)
    with execution(network, ComputeSettings(precision="bf16")) as record:
        assert record == {
            "attention": {
                "wanted": "sdpa",
                "backend": "sdpa",
                "reason": "the backbone has no attention",
            },
            "compile": "off",
            "precision": "bf16",
        }


def test_convolutions_get_channels_innermost() -> None:
    """Views come so from the files; with plain weights the layout lasts through the network."""
    backbone = load_backbone(BackboneSettings(name=LITE0, weights="random", image_size=32), 0)
    network = attach_head(backbone, ViewSettings(tiles=0)).eval()
    pixels = network.pixels(torch.zeros(4, 1, 32, 32, 3, dtype=torch.uint8))
    assert pixels.is_contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        stem = network.backbone.conv_stem(pixels)  # pyright: ignore[reportCallIssue]
    assert stem.is_contiguous(memory_format=torch.channels_last) and not stem.is_contiguous()


@pytest.mark.parametrize("name", [LITE0, PICO])
def test_16_bits_train_and_answer_like_32(name: str) -> None:
    exact, exact_head, exact_optimizer = parts(name)
    short, short_head, short_optimizer = parts(name)
    with torch.no_grad():
        expected = exact(pictures())
        with torch.autocast("cpu", torch.bfloat16):
            found = short(pictures())
    scale = float(expected.norm())
    difference = float((found.float() - expected).norm()) / scale
    assert 0 < difference < 0.05  # 8 bits of mantissa over some tens of layers
    losses = [step(exact, exact_head, exact_optimizer) for _ in range(4)]
    nearly = [step(short, short_head, short_optimizer, bf16=True) for _ in range(4)]
    assert all(p.dtype == torch.float32 for p in short.parameters())
    assert losses[-1] < losses[0] - 0.01
    assert nearly == pytest.approx(losses, abs=0.05)
    for (key, weight), (_, other) in zip(trainable(exact), trainable(short), strict=True):
        assert torch.isfinite(other).all(), key
        # AdamW moves a weight by at most about the rate a step.
        assert float((weight - other).detach().abs().max()) < 2 * 4 * 1.1e-3, key
