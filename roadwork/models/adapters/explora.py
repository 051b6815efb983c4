"""What ExPLoRA trains beside LoRA (Khanna et al., 2406.10973): last block, norms, class token."""

from __future__ import annotations

import re

from torch import nn

__all__ = ["explora_parameters", "last_block"]


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
