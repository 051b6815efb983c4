"""Parameter groups: which weights decay, and how much slower the layers far from the head learn.

Layer-wise decay as in ELECTRA (Clark et al., ICLR 2020, arXiv 2003.10555) and BEiT (Bao et al.,
ICLR 2022, arXiv 2106.08254): a backbone of L blocks has the depths 0 (whatever comes before the
blocks: patch and position embeddings, tokens, the stem of a convolutional network), 1 to L (its
blocks in order), and L + 1 (whatever comes after: the last norm or convolution, the aggregator,
the head, the heads of an objective). A layer at depth d learns at ``rate * decay^(L + 1 - d)``.
An adapter's parameters belong to the layer that it adapts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

__all__ = ["layer_depths", "weight_groups"]

_BLOCK = re.compile(r"(?:^|\.)backbone\.blocks\.(\d+)\.(?:(\d+)\.)?")
_BEFORE = re.compile(
    r"(?:^|\.)backbone\."
    r"(?:cls_token|reg_token|mask_token|pos_embed|patch_embed|rope|norm_pre|conv_stem|bn1)(?:\.|$)"
)
_VECTOR = re.compile(
    r"(?:^|\.)(?:cls_token|reg_token|mask_token)$|\.lora_magnitude_vector\.[^.]+\.weight$"
)


def layer_depths(names: Iterable[str]) -> dict[str, int]:
    """Depth of each parameter of a network with a ``backbone``, from the parameters' names.

    Convolutional networks number their blocks within stages; both numbers together make a block.

    Args:
        names: of all parameters, those that do not train too: the number of blocks comes from
            them.
    """
    names = list(names)
    blocks = {name: _block(name) for name in names}
    order = sorted({block for block in blocks.values() if block is not None})
    depth = {block: number for number, block in enumerate(order, start=1)}

    def of(name: str) -> int:
        block = blocks[name]
        if block is not None:
            return depth[block]
        return 0 if _BEFORE.search(name) else len(order) + 1

    return {name: of(name) for name in names}


def _block(name: str) -> tuple[int, int] | None:
    found = _BLOCK.search(name)
    return None if found is None else (int(found[1]), int(found[2] or 0))


def weight_groups(
    module: nn.Module, rate: float, weight_decay: float, layer_decay: float = 1.0
) -> list[dict[str, Any]]:
    """Trainable parameters in groups for an optimizer: matrices decay, vectors do not.

    Vectors are biases, norms and scales; by name also the tokens, and the magnitudes of DoRA,
    which have the form (1, O, 1, 1) at a convolution. Their form alone does not tell them from
    matrices: an adapter of rank 1 has it too.

    Args:
        module: whatever trains.
        rate: learning rate of the head.
        weight_decay: of matrices.
        layer_decay: factor of the rate from one layer to the next below; 1 makes no difference
            between layers, and needs no ``backbone`` in ``module``.

    Returns:
        One group for each depth and kind, those of the largest rate and of matrices first, each
        with its ``lr``, ``weight_decay`` and ``name``; none is empty.
    """
    every = dict(module.named_parameters())
    depths: Mapping[str, int] = layer_depths(every) if layer_decay < 1 else dict.fromkeys(every, 0)
    top = max(depths.values(), default=0)
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    for name, parameter in every.items():
        if not parameter.requires_grad:
            continue
        below = top - depths[name]
        vector = parameter.ndim <= 1 or _VECTOR.search(name) is not None
        group = groups.setdefault(
            (below, vector),
            {
                "params": [],
                "lr": rate * layer_decay**below,
                "weight_decay": 0.0 if vector else weight_decay,
                "name": f"{'vectors' if vector else 'matrices'}, {below} below the head",
            },
        )
        group["params"].append(parameter)
    return [groups[key] for key in sorted(groups)]
