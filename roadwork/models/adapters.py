"""Adapters: which weights are trained, and how they return into plain weights.

LoRA (Hu et al., 2106.09685) comes from PEFT. Its layers are put on the attention's queries and
values in a vision transformer, on the pointwise convolutions in a convolutional network.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from roadwork.errors import TrainingError
from roadwork.models.backbone import BACKBONES

__all__ = ["ADAPTERS", "AdapterInfo", "add_lora", "freeze_batch_statistics", "merge_lora"]

_TRANSFORMER_TARGETS = r".*\.attn\.(q_proj|v_proj)"
_CONVOLUTION_TARGETS = r".*(conv_pw|conv_pwl|conv_head)"


def add_lora(
    network: nn.Module, backbone: str, rank: int, alpha: int, exclude: str | None = None
) -> list[str]:
    """Freeze a backbone and put LoRA on it, in place.

    Args:
        network: the backbone's module.
        backbone: its name in the registry, which decides the layers.
        rank: of the added matrices.
        alpha: the update is scaled by ``alpha / rank``.
        exclude: regular expression of module names to leave alone.

    Returns:
        Names of the adapted layers.

    Raises:
        TrainingError: no layer was adapted; training would go on without adapters otherwise.
    """
    targets = _TRANSFORMER_TARGETS if BACKBONES[backbone].transformer else _CONVOLUTION_TARGETS
    network.requires_grad_(False)
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=targets, exclude_modules=exclude)
    with contextlib.suppress(ValueError):  # no layer matches; said below in our words
        inject_adapter_in_model(config, network)
    adapted = [name for name, module in network.named_modules() if isinstance(module, LoraLayer)]
    if not adapted:
        raise TrainingError(f"no layer of {backbone} matches {targets}: nothing would be adapted")
    return adapted


@torch.no_grad()
def merge_lora(network: nn.Module) -> None:
    """Add every adapter to the weights it adapts and put the plain layer back, in place."""
    for name, module in list(network.named_modules()):
        if isinstance(module, LoraLayer):
            assert isinstance(module, nn.Module)
            module.merge(safe_merge=True)
            parent, _, child = name.rpartition(".")
            setattr(network.get_submodule(parent), child, module.get_base_layer())
    network.requires_grad_(True)


def freeze_batch_statistics(network: nn.Module) -> None:
    """Keep batch normalisation at its learned statistics: batches here are small and correlated."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


@dataclass(frozen=True)
class AdapterInfo:
    """One way to train a backbone.

    Attributes:
        title: for people.
        prepare: sets which parameters train; returns the adapted layers' names.
        merge: makes the weights plain again.
    """

    title: str
    prepare: Callable[[nn.Module, str, int, int], list[str]]
    merge: Callable[[nn.Module], None]


def _full(network: nn.Module, backbone: str, rank: int, alpha: int) -> list[str]:
    network.requires_grad_(True)
    return []


def _none(network: nn.Module, backbone: str, rank: int, alpha: int) -> list[str]:
    network.requires_grad_(False)
    return []


def _leave(network: nn.Module) -> None:
    network.requires_grad_(True)


ADAPTERS: Mapping[str, AdapterInfo] = {
    "lora": AdapterInfo("LoRA", add_lora, merge_lora),
    "full": AdapterInfo("all weights", _full, _leave),
    "none": AdapterInfo("frozen backbone", _none, _leave),
}


def trainable(network: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Parameters that training changes."""
    return ((name, p) for name, p in network.named_parameters() if p.requires_grad)


def trainable_state(network: nn.Module) -> dict[str, Tensor]:
    """Copies of what training changes."""
    return {name: p.detach().cpu().clone() for name, p in trainable(network)}


@torch.no_grad()
def restore_trainable(network: nn.Module, state: Mapping[str, Any]) -> None:
    """Put back what :func:`trainable_state` copied."""
    for name, parameter in trainable(network):
        parameter.copy_(state[name])


def last_block(network: nn.Module) -> str:
    """Regular expression of the modules inside a transformer's last block."""
    depth = len(network.blocks)  # pyright: ignore[reportArgumentType]
    return rf".*blocks\.{depth - 1}\..*"


def explora_parameters(network: nn.Module) -> None:
    """Make trainable, beside LoRA, what ExPLoRA trains: last block, norms, class token."""
    pattern = re.compile(last_block(network).removeprefix(".*"))
    for name, parameter in network.named_parameters():
        if pattern.search(name) or "norm" in name or name == "cls_token":
            parameter.requires_grad_(True)
