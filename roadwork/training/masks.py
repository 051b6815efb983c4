"""Masks of patches: blocks, as masked image modelling hides them (BEiT, 2106.08254, algorithm 1).

iBOT and DINOv2 hide a share between a tenth and a half of the patches in every second crop.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["block_mask", "draw_mask"]

_RATIO = (0.1, 0.5)
_LEAST = 4  # patches of a block, as long as so many are wanted
_ASPECT = 0.3  # height to width of a block: from this to its inverse
_TRIES = 10


def draw_mask(rng: np.random.Generator, side: int, probability: float) -> NDArray[np.bool_]:
    """The mask (side * side,) of one crop: with ``probability`` one of blocks, otherwise none.

    Args:
        rng: the random numbers of the crop.
        side: patches along an edge.
        probability: that anything is hidden; then a share drawn evenly from 0.1 to 0.5 is, at
            least one patch.
    """
    if rng.random() >= probability:
        return np.zeros(side * side, dtype=np.bool_)
    wanted = max(1, round(rng.uniform(*_RATIO) * side * side))
    return block_mask(rng, side, wanted).reshape(-1)


def block_mask(rng: np.random.Generator, side: int, wanted: int) -> NDArray[np.bool_]:
    """A mask (side, side) that hides exactly ``wanted`` patches, in blocks that may overlap."""
    mask = np.zeros((side, side), dtype=np.bool_)
    while (missing := wanted - int(mask.sum())) > 0:
        for _ in range(_TRIES):
            area = rng.uniform(min(_LEAST, missing), missing)
            aspect = np.exp(rng.uniform(np.log(_ASPECT), -np.log(_ASPECT)))
            height = min(side, max(1, round(np.sqrt(area * aspect))))
            width = min(side, max(1, round(np.sqrt(area / aspect))))
            top = rng.integers(side - height + 1)
            left = rng.integers(side - width + 1)
            block = mask[top : top + height, left : left + width]
            if 0 < block.size - int(block.sum()) <= missing:
                block[:] = True
                break
        else:  # no block fits into what is left
            mask.flat[rng.choice(np.flatnonzero(~mask), missing, replace=False)] = True
    return mask
