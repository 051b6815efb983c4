"""Crops for self-distillation: two large ones for the teacher, several small ones beside them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from roadwork.models.masked import PATCH
from roadwork.training.masks import draw_mask

__all__ = ["GLOBAL_CROPS", "Crops", "local_size", "make_crops"]

GLOBAL_CROPS = 2
# Shares of the picture's area. DINO's local crops begin at a twentieth; cones and signs are small,
# and crops below an eighth of the picture would often hold none.
_GLOBAL_SCALE = (0.4, 1.0)
_LOCAL_SCALE = (0.12, 0.4)


def local_size(size: int) -> int:
    """Edge of a local crop beside global ones of ``size`` pixels: 3/7 of it, in whole patches.

    224 gives DINO's 96.
    """
    return PATCH * max(1, round(size * 3 / 7 / PATCH))


@dataclass(frozen=True)
class Crops:
    """Crops of one picture; G global ones of S pixels, L local ones of s, C = G + L.

    Attributes:
        large: uint8 (G, S, S, 3).
        small: uint8 (L, s, s, 3).
        gain: (C, 3), multiplies RGB in [0, 1], global crops first.
        offset: (C,), is added after it.
        mask: (G, N), true where a patch is hidden from the student.
    """

    large: NDArray[np.uint8]
    small: NDArray[np.uint8]
    gain: NDArray[np.float32]
    offset: NDArray[np.float32]
    mask: NDArray[np.bool_]


def make_crops(
    image: Image.Image,
    size: int,
    local_crops: int,
    mask_probability: float,
    rng: np.random.Generator,
) -> Crops:
    """Random crops of an RGB image, mirrored at random, each with a light and a mask of its own.

    The change of colours is that of fine-tuning. DINO's solarisation, greyscale and strong colour
    jitter are left out: orange is what cones are known by.

    Args:
        image: the picture.
        size: edge S of the global crops, in pixels; one size for each kind keeps a transformer's
            compiled graphs few.
        local_crops: how many, L.
        mask_probability: that any patch of a global crop is hidden.
        rng: the random numbers of this picture in this pass.
    """
    count = GLOBAL_CROPS + local_crops
    large = np.stack([_crop(image, size, _GLOBAL_SCALE, rng) for _ in range(GLOBAL_CROPS)])
    edge = local_size(size)
    small = np.empty((local_crops, edge, edge, 3), dtype=np.uint8)
    for index in range(local_crops):
        small[index] = _crop(image, edge, _LOCAL_SCALE, rng)
    gain = rng.uniform(0.8, 1.25, (count, 1)) * rng.uniform(0.93, 1.07, (count, 3))
    offset = rng.uniform(-0.08, 0.08, count)
    mask = [draw_mask(rng, size // PATCH, mask_probability) for _ in range(GLOBAL_CROPS)]
    return Crops(large, small, gain.astype(np.float32), offset.astype(np.float32), np.stack(mask))


def _crop(
    image: Image.Image, size: int, scale: tuple[float, float], rng: np.random.Generator
) -> NDArray[np.uint8]:
    box = _box(image.width, image.height, scale, rng)
    crop = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box=box))
    return crop[:, ::-1] if rng.random() < 0.5 else crop


def _box(
    width: int, height: int, scale: tuple[float, float], rng: np.random.Generator
) -> tuple[float, float, float, float]:
    """A box of a random share of the area and a ratio of edges within 3:4 and 16:9."""
    area = rng.uniform(*scale) * width * height
    ratio = float(np.exp(rng.uniform(np.log(3 / 4), np.log(16 / 9))))
    w = min(width, (area * ratio) ** 0.5)
    h = min(height, (area / ratio) ** 0.5)
    left = rng.uniform(0, width - w)
    top = rng.uniform(0, height - h)
    return (left, top, left + w, top + h)
