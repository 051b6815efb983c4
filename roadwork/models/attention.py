"""Attention: which implementation computes it, chosen once, with the reason.

All of them compute softmax(Q K^T / sqrt(d)) V. ``math`` is that formula step by step, the only one
that can be differentiated twice. ``sdpa`` leaves the choice among its own kernels to PyTorch.
``fa2`` holds PyTorch to its FlashAttention-2 kernel (Dao, 2307.08691). ``fa3`` (Shah et al.,
2407.08608) and ``fa4`` are packages of their own, which PyTorch's registry of flash attention puts
in that kernel's place; PyTorch calls both of them prototypes.

At 201 tokens (224 pixels) attention is 3 to 8 % of the arithmetic of a vision transformer, so that
a faster kernel changes little; at 1029 tokens (512 pixels) it is 14 to 31 %.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.nn import attention as torch_attention
from torch.nn.attention import SDPBackend, sdpa_kernel

from roadwork.errors import ConfigError

__all__ = [
    "ATTENTION",
    "AttentionChoice",
    "AttentionInfo",
    "Machine",
    "attention_backend",
    "choose_attention",
    "every_kernel",
]

logger = logging.getLogger(__name__)

_PACKAGES = {"FA3": "flash_attn_interface", "FA4": "flash_attn/cute"}
_DISTRIBUTIONS = {"FA3": "flash_attn_interface", "FA4": "flash-attn-4"}
_NEWEST_FIRST = ("fa4", "fa3")


@dataclass(frozen=True)
class Machine:
    """What attention depends on.

    Attributes:
        capability: compute capability of the CUDA device that trains; None without one.
        bf16: whether training computes in bfloat16.
        registry: names in PyTorch's registry of flash attention; None if this PyTorch has none.
        packages: of these names, those whose package is installed.
    """

    capability: tuple[int, int] | None
    bf16: bool
    registry: tuple[str, ...] | None
    packages: tuple[str, ...]

    @classmethod
    def here(cls, precision: str) -> Machine:
        """This machine, training in ``32`` or ``bf16``."""
        listed = getattr(torch_attention, "list_flash_attention_impls", None)
        return cls(
            capability=torch.cuda.get_device_capability() if torch.cuda.is_available() else None,
            bf16=precision == "bf16",
            registry=None if listed is None else tuple(listed()),
            packages=tuple(name for name, package in _PACKAGES.items() if _installed(package)),
        )


@dataclass(frozen=True)
class AttentionInfo:
    """One implementation.

    Attributes:
        title: for people.
        fused: whether the network calls PyTorch's fused function or computes step by step.
        obstacle: why it cannot be used on a machine, or None.
        scope: in force while training runs.
    """

    title: str
    fused: bool
    obstacle: Callable[[Machine], str | None]
    scope: Callable[[], AbstractContextManager[object]]


@dataclass(frozen=True)
class AttentionChoice:
    """What was asked for, what is used, and why."""

    wanted: str
    backend: str
    reason: str

    def record(self) -> dict[str, str]:
        """For the run's record."""
        return {"wanted": self.wanted, "backend": self.backend, "reason": self.reason}


def choose_attention(
    wanted: str, network: nn.Module, precision: str, machine: Machine | None = None
) -> AttentionChoice:
    """Choose the implementation for a network, and log why.

    Args:
        wanted: ``auto`` or a key of :data:`ATTENTION`.
        network: a network without attention layers keeps ``sdpa``, which it never calls.
        precision: ``32`` or ``bf16``.
        machine: default: this one.

    Raises:
        ConfigError: an implementation was named that this machine or network cannot run.
    """
    machine = machine or Machine.here(precision)
    if wanted not in ("auto", *ATTENTION):
        raise ConfigError(
            f"compute.attention: there is no {wanted!r}; known: auto, {', '.join(ATTENTION)}"
        )
    if not _attention_layers(network):
        if wanted not in ("auto", "sdpa"):
            raise ConfigError(
                f"compute.attention: {wanted} was asked for, but this backbone has no attention: "
                "leave it out"
            )
        choice = AttentionChoice(wanted, "sdpa", "the backbone has no attention")
    elif wanted == "auto":
        choice = _newest(machine)
    else:
        obstacle = ATTENTION[wanted].obstacle(machine)
        if obstacle is not None:
            raise ConfigError(
                f"compute.attention: {wanted} cannot be used: {obstacle}. sdpa works everywhere, "
                "auto takes the newest that does"
            )
        choice = AttentionChoice(wanted, wanted, "asked for")
    logger.info(
        "attention: %s (%s), because: %s",
        choice.backend,
        ATTENTION[choice.backend].title,
        choice.reason,
    )
    return choice


def _newest(machine: Machine) -> AttentionChoice:
    obstacles = []
    for name in _NEWEST_FIRST:
        obstacle = ATTENTION[name].obstacle(machine)
        if obstacle is None:
            return AttentionChoice("auto", name, "the newest that this machine can run")
        obstacles.append(f"{name}: {obstacle}")
    return AttentionChoice("auto", "sdpa", "; ".join(obstacles))


@contextlib.contextmanager
def attention_backend(choice: AttentionChoice, network: nn.Module) -> Iterator[None]:
    """Compute the network's attention as chosen; afterwards everything is as it was.

    Raises:
        ConfigError: the package of the implementation is there, but cannot be loaded.
    """
    info = ATTENTION[choice.backend]
    layers = _attention_layers(network)
    before = [layer.fused_attn for layer in layers]
    with info.scope():
        # timm reads its global flag when a layer is made; the layer's own can be set at any time.
        for layer in layers:
            layer.fused_attn = info.fused  # pyright: ignore[reportArgumentType]
        try:
            yield
        finally:
            for layer, fused in zip(layers, before, strict=True):
                layer.fused_attn = fused


def _attention_layers(network: nn.Module) -> list[nn.Module]:
    return [module for module in network.modules() if hasattr(module, "fused_attn")]


def _installed(package: str) -> bool:
    """Whether a package, or a folder within one, is there; nothing foreign is imported."""
    top, _, folder = package.partition("/")
    found = importlib.util.find_spec(top)
    places = [] if found is None else found.submodule_search_locations or []
    return any((Path(place) / folder).is_dir() for place in places) if folder else found is not None


def _nothing(machine: Machine) -> str | None:
    return None


def _flash_obstacle(machine: Machine, capabilities: Callable[[tuple[int, int]], str | None]):
    if machine.capability is None:
        return "it needs a CUDA device, and this machine has none"
    refused = capabilities(machine.capability)
    if refused is not None:
        return f"{refused}, and this device has {machine.capability[0]}.{machine.capability[1]}"
    if not machine.bf16:
        return "it computes in 16 bits, and training in 32: set compute.precision: bf16"
    return None


def _fa2_obstacle(machine: Machine) -> str | None:
    return _flash_obstacle(
        machine, lambda c: None if c >= (8, 0) else "it needs compute capability 8.0 or more"
    )


def _package_obstacle(
    machine: Machine, name: str, capabilities: tuple[tuple[int, int], ...]
) -> str | None:
    words = " or ".join(f"{major}.{minor}" for major, minor in capabilities)
    obstacle = _flash_obstacle(
        machine, lambda c: None if c in capabilities else f"it needs compute capability {words}"
    )
    if obstacle is not None:
        return obstacle
    if machine.registry is None:
        return f"PyTorch {torch.__version__} has no registry of flash attention: use a newer one"
    if name not in machine.registry:
        return f"PyTorch {torch.__version__} does not know {name}"
    if name not in machine.packages:
        return f"the package {_DISTRIBUTIONS[name]} is not installed"
    return None


def every_kernel() -> AbstractContextManager[object]:
    """PyTorch's choice among all of its kernels again, within a scope that allows one alone.

    The flash kernels compute in 16 bits only: inside, attention can be computed in 32.
    """
    return sdpa_kernel(
        [
            SDPBackend.FLASH_ATTENTION,
            SDPBackend.CUDNN_ATTENTION,
            SDPBackend.EFFICIENT_ATTENTION,
            SDPBackend.MATH,
        ]
    )


@contextlib.contextmanager
def _flash_kernel(name: str) -> Iterator[None]:
    """PyTorch's kernel of this name and no other.

    A compiled graph holds the kernel that was allowed when it was made, and PyTorch's cache of
    such graphs does not tell them apart by that: hence the tag.
    """
    with (
        torch.compiler.config.patch(  # pyright: ignore[reportAttributeAccessIssue]
            cache_key_tag=f"attention {name}"
        ),
        sdpa_kernel(SDPBackend.FLASH_ATTENTION),
    ):
        yield


@contextlib.contextmanager
def _registered(name: str) -> Iterator[None]:
    """PyTorch's flash attention kernel is another one meanwhile, and nothing else is used."""
    previous = torch_attention.current_flash_attention_impl()
    try:
        torch_attention.activate_flash_attention_impl(name)
    except Exception as error:  # whatever the import of a foreign kernel package may raise
        raise ConfigError(
            f"compute.attention: {name.lower()} cannot be loaded ({error}): install its package "
            "for this PyTorch, or use sdpa"
        ) from error
    try:
        with _flash_kernel(name):
            yield
    finally:
        torch_attention.restore_flash_attention_impl()
        if previous is not None:
            torch_attention.activate_flash_attention_impl(previous)


ATTENTION: Mapping[str, AttentionInfo] = {
    "math": AttentionInfo("step by step", False, _nothing, contextlib.nullcontext),
    "sdpa": AttentionInfo("PyTorch's choice", True, _nothing, contextlib.nullcontext),
    "fa2": AttentionInfo(
        "FlashAttention-2 of PyTorch", True, _fa2_obstacle, partial(_flash_kernel, "FA2")
    ),
    "fa3": AttentionInfo(
        "FlashAttention-3",
        True,
        partial(_package_obstacle, name="FA3", capabilities=((9, 0),)),
        partial(_registered, "FA3"),
    ),
    "fa4": AttentionInfo(
        "FlashAttention-4",
        True,
        partial(_package_obstacle, name="FA4", capabilities=((9, 0), (10, 0))),
        partial(_registered, "FA4"),
    ),
}
