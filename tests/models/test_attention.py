"""Attention: equal answers and gradients from every implementation, and honest choices."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from roadwork.errors import ConfigError
from roadwork.models import attention as module
from roadwork.models.attention import (
    ATTENTION,
    AttentionChoice,
    Machine,
    attention_backend,
    choose_attention,
)
from roadwork.models.backbone import build_network
from roadwork.models.execution import execution
from roadwork.settings import ComputeSettings
from tests.training.made_photos import NAME, SIZE

CPU = Machine(None, bf16=True, registry=("FA3", "FA4"), packages=("FA3", "FA4"))
H100 = Machine((9, 0), bf16=True, registry=("FA3", "FA4"), packages=("FA3",))
BLACKWELL = Machine((10, 0), bf16=True, registry=("FA3", "FA4"), packages=("FA3", "FA4"))


def network_of() -> nn.Module:
    torch.manual_seed(4)
    return build_network(NAME, SIZE, random=True).eval()


def pictures(device: str = "cpu") -> torch.Tensor:
    given = torch.randn(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(9))
    return given.to(device)


def answers(
    network: nn.Module, backend: str, device: str = "cpu", bf16: bool = False
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Features and the gradients of all weights."""
    network.to(device).zero_grad()
    with (
        attention_backend(AttentionChoice(backend, backend, "test"), network),
        torch.autocast(device, torch.bfloat16, enabled=bf16),
    ):
        features = network(pictures(device))
    features.float().square().sum().backward()
    return features.detach().float(), {
        name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None
    }


def test_step_by_step_and_fused_are_equal_with_their_gradients() -> None:
    network = network_of()
    fused, fused_gradients = answers(network, "sdpa")
    plain, plain_gradients = answers(network, "math")
    torch.testing.assert_close(plain, fused, atol=1e-5, rtol=1e-4)
    assert set(plain_gradients) == set(fused_gradients)
    assert float(fused_gradients["blocks.0.attn.q_proj.weight"].abs().max()) > 1e-4
    for name, gradient in fused_gradients.items():
        torch.testing.assert_close(plain_gradients[name], gradient, atol=1e-4, rtol=1e-3)


def test_step_by_step_is_the_formula_and_fused_calls_pytorch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = []
    original = nn.functional.scaled_dot_product_attention

    def counted(*args: Any, **kwargs: Any) -> torch.Tensor:
        calls.append(args)
        return original(*args, **kwargs)

    monkeypatch.setattr(nn.functional, "scaled_dot_product_attention", counted)
    network = network_of()
    answers(network, "math")
    assert calls == []
    answers(network, "sdpa")
    assert len(calls) == 2  # blocks


def test_step_by_step_can_be_differentiated_twice() -> None:
    network = network_of()
    weight = network.get_parameter("blocks.0.attn.q_proj.weight")
    with attention_backend(AttentionChoice("math", "math", "test"), network):
        loss = network(pictures()).square().sum()
        (first,) = torch.autograd.grad(loss, weight, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), weight)
    assert float(second.abs().max()) > 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("backend", [name for name in ATTENTION if name not in ("math", "sdpa")])
def test_every_implementation_that_is_here_is_equal(backend: str) -> None:
    obstacle = ATTENTION[backend].obstacle(Machine.here("bf16"))
    if obstacle is not None:
        pytest.skip(obstacle)
    network = network_of()
    exact, exact_gradients = answers(network, "math", "cuda")
    plain, plain_gradients = answers(network, "math", "cuda", bf16=True)
    found, gradients = answers(network, backend, "cuda", bf16=True)
    # As near to 32 bits as 16 bits step by step are, with room for another order of sums.
    assert float((found - exact).norm()) < 2 * float((plain - exact).norm())
    for name, gradient in exact_gradients.items():
        allowed = 2 * float((plain_gradients[name] - gradient).norm()) + 1e-3
        assert float((gradients[name] - gradient).norm()) < allowed, name


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_compiled_graph_of_another_kernel_is_not_taken_from_the_cache() -> None:
    obstacle = ATTENTION["fa2"].obstacle(Machine.here("bf16"))
    if obstacle is not None:
        pytest.skip(obstacle)
    from torch.profiler import ProfilerActivity, profile

    network, given = network_of().cuda(), pictures("cuda")
    for backend in ("sdpa", "fa2"):
        settings = ComputeSettings.model_validate(
            {"attention": backend, "compile": "default", "precision": "bf16"}
        )
        with (
            execution(network, settings),
            torch.no_grad(),
            torch.autocast("cuda", torch.bfloat16),
        ):
            network(given)
            with profile(activities=[ProfilerActivity.CUDA]) as seen:
                network(given)
                torch.cuda.synchronize()
        names = [event.key for event in seen.key_averages()]
    assert any("pytorch_flash" in name for name in names)
    assert not any("cudnn_generated" in name for name in names)


def test_everything_is_as_before_even_after_an_error() -> None:
    network = network_of()
    layers = [layer for layer in network.modules() if hasattr(layer, "fused_attn")]
    before = [layer.fused_attn for layer in layers]
    assert len(layers) == 2 and all(before)
    with (
        contextlib.suppress(ZeroDivisionError),
        attention_backend(AttentionChoice("math", "math", "test"), network),
    ):
        assert not any(layer.fused_attn for layer in layers)
        raise ZeroDivisionError
    assert [layer.fused_attn for layer in layers] == before


@pytest.mark.parametrize(
    ("wanted", "machine", "reason"),
    [
        ("fa2", CPU, "needs a CUDA device"),
        ("fa3", CPU, "needs a CUDA device"),
        ("fa4", CPU, "needs a CUDA device"),
        ("fa2", Machine((7, 5), True, (), ()), r"8\.0 or more, and this device has 7\.5"),
        ("fa2", Machine((9, 0), False, (), ()), r"compute\.precision: bf16"),
        ("fa3", BLACKWELL, r"capability 9\.0, and this device has 10\.0"),
        ("fa3", Machine((9, 0), True, None, ("FA3",)), "no registry"),
        ("fa3", Machine((9, 0), True, ("FA4",), ("FA3",)), "does not know FA3"),
        ("fa3", Machine((9, 0), True, ("FA3",), ()), "flash_attn_interface is not installed"),
        ("fa4", H100, "flash-attn-4 is not installed"),
        ("fa4", Machine((8, 0), True, ("FA4",), ("FA4",)), r"9\.0 or 10\.0"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(
    wanted: str, machine: Machine, reason: str
) -> None:
    with pytest.raises(ConfigError, match=rf"compute\.attention: {wanted} cannot .*{reason}"):
        choose_attention(wanted, network_of(), "bf16", machine)


def test_looking_for_a_package_imports_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flash_attn that was built for another PyTorch fails at its import."""
    for name in ("flash_attn", "flash_attn_interface"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('undefined symbol')")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert Machine.here("32").packages == ("FA3",)
    (tmp_path / "flash_attn" / "cute").mkdir()
    assert Machine.here("32").packages == ("FA3", "FA4")
    assert choose_attention("sdpa", network_of(), "32").backend == "sdpa"


@pytest.mark.parametrize(
    ("machine", "backend"),
    [(CPU, "sdpa"), (H100, "fa3"), (BLACKWELL, "fa4"), (Machine((8, 0), True, (), ()), "sdpa")],
)
def test_auto_takes_the_newest_and_says_why(
    machine: Machine, backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, module.logger.name):
        choice = choose_attention("auto", network_of(), "bf16", machine)
    assert choice.backend == backend
    assert choice.reason in caplog.text and f"attention: {backend} " in caplog.text
    assert choice.record() == {"wanted": "auto", "backend": backend, "reason": choice.reason}
    if backend == "sdpa":
        assert "fa4: it needs" in choice.reason and "fa3: it needs" in choice.reason


def test_a_named_choice_is_kept() -> None:
    for name, machine in (("math", CPU), ("sdpa", H100), ("fa2", H100), ("fa3", H100)):
        assert choose_attention(name, network_of(), "bf16", machine).backend == name
    with pytest.raises(ConfigError, match="there is no 'fast'"):
        choose_attention("fast", network_of(), "32", CPU)


def test_a_convolutional_network_has_no_attention() -> None:
    network = build_network("tf_efficientnet_lite0", 64)
    assert choose_attention("auto", network, "32").reason == "the backbone has no attention"
    with pytest.raises(ConfigError, match="this backbone has no attention"):
        choose_attention("math", network, "32")


def test_this_machine_is_described() -> None:
    here = Machine.here("bf16")
    assert here.bf16 and not Machine.here("32").bf16
    assert (here.capability is None) == (not torch.cuda.is_available())


def test_the_registry_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for the foreign kernels, in PyTorch's own registry."""
    import torch.nn.attention as torch_attention

    if not hasattr(torch_attention, "register_flash_attention_impl"):
        pytest.skip("this PyTorch has no registry of flash attention")
    from torch.nn.attention import _registry

    class Handle:
        def remove(self) -> None:
            removed.append(True)

    removed: list[bool] = []
    monkeypatch.setattr(_registry, "_FLASH_ATTENTION_IMPLS", {"FA3": Handle, "FA4": Handle})
    choice = AttentionChoice("fa3", "fa3", "test")
    with attention_backend(choice, network_of()):
        assert torch_attention.current_flash_attention_impl() == "FA3"
        assert not torch.backends.cuda.math_sdp_enabled()
        assert torch.backends.cuda.flash_sdp_enabled()
        # Graphs that were compiled for another kernel must not be found in the cache.
        assert torch.compiler.config.cache_key_tag == "attention FA3"
    assert torch.compiler.config.cache_key_tag == ""
    assert torch_attention.current_flash_attention_impl() is None
    assert torch.backends.cuda.math_sdp_enabled()
    assert removed == [True]
    torch_attention.activate_flash_attention_impl("FA4")
    with attention_backend(choice, network_of()):
        assert torch_attention.current_flash_attention_impl() == "FA3"
    assert torch_attention.current_flash_attention_impl() == "FA4"
    torch_attention.restore_flash_attention_impl()


def test_kernels_that_cannot_be_loaded_are_an_error_for_people(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from torch.nn.attention import _registry

    def broken() -> None:
        raise ImportError("undefined symbol")

    monkeypatch.setattr(_registry, "_FLASH_ATTENTION_IMPLS", {"FA3": broken})
    network = network_of()
    with (
        pytest.raises(ConfigError, match=r"fa3 cannot be loaded \(undefined symbol\)"),
        attention_backend(AttentionChoice("fa3", "fa3", "test"), network),
    ):
        pass
    assert all(m.fused_attn for m in network.modules() if hasattr(m, "fused_attn"))
