"""Putting adapter layers of PEFT on a backbone, and merging them into plain weights.

LoRA (Hu et al., 2106.09685) and its relatives go on the attention's queries and values in a vision
transformer, and on the pointwise convolutions in a convolutional network.
"""

from __future__ import annotations

import contextlib

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import nn

from roadwork.errors import TrainingError
from roadwork.models.backbone import BACKBONES

__all__ = ["add_lora", "inject", "lora_layers", "merge_lora", "remove_lora"]

_TRANSFORMER_TARGETS = r".*\.attn\.(q_proj|v_proj)"
_CONVOLUTION_TARGETS = r".*(conv_pw|conv_pwl|conv_head)"


def inject(
    network: nn.Module, backbone: str, config: LoraConfig, exclude: str | None = None
) -> list[str]:
    """Freeze a backbone and put the layers of a configuration on it, in place.

    Args:
        network: the backbone's module.
        backbone: its name in the registry, which decides the layers.
        config: rank, scale and kind; its targets are filled in here.
        exclude: regular expression of module names to leave alone.

    Returns:
        Names of the adapted layers.

    Raises:
        TrainingError: no layer was adapted; training would go on without adapters otherwise.
    """
    targets = _TRANSFORMER_TARGETS if BACKBONES[backbone].transformer else _CONVOLUTION_TARGETS
    network.requires_grad_(False)
    config.target_modules = targets
    config.exclude_modules = exclude
    with contextlib.suppress(ValueError):  # no layer matches; said below in our words
        inject_adapter_in_model(config, network)
    adapted = list(lora_layers(network))
    if not adapted:
        raise TrainingError(f"no layer of {backbone} matches {targets}: nothing would be adapted")
    return adapted


def add_lora(
    network: nn.Module, backbone: str, rank: int, alpha: int, exclude: str | None = None
) -> list[str]:
    """Put LoRA on a backbone (:func:`inject`); the update is scaled by ``alpha / rank``."""
    return inject(network, backbone, LoraConfig(r=rank, lora_alpha=alpha), exclude)


def lora_layers(network: nn.Module) -> dict[str, LoraLayer]:
    """Every adapted layer, by name."""
    return {n: m for n, m in network.named_modules() if isinstance(m, LoraLayer)}


@torch.no_grad()
def merge_lora(network: nn.Module) -> None:
    """Add every adapter to the weights it adapts and put the plain layer back, in place."""
    for module in lora_layers(network).values():
        module.merge(safe_merge=True)
    remove_lora(network)
    network.requires_grad_(True)


def remove_lora(network: nn.Module) -> None:
    """Put the plain layers back, in place; what was not merged is lost."""
    for name, module in lora_layers(network).items():
        parent, _, child = name.rpartition(".")
        setattr(network.get_submodule(parent), child, module.get_base_layer())
