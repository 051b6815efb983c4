"""Crops for self-distillation: two large ones for the teacher, several small ones beside them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["GLOBAL_CROPS", "LOCAL_CROPS", "make_crops"]

GLOBAL_CROPS = 2
LOCAL_CROPS = 2
# Cones and signs are small: crops below an eighth of the picture would often hold none.
_GLOBAL_SCALE = (0.4, 1.0)
_LOCAL_SCALE = (0.12, 0.4)


def make_crops(image: Image.Image, size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Random crops of an RGB image, mirrored at random, (crops, size, size, 3).

    All crops have the edge ``size``: one shape keeps a transformer's compiled graphs few.
    """
    scales = [_GLOBAL_SCALE] * GLOBAL_CROPS + [_LOCAL_SCALE] * LOCAL_CROPS
    crops = np.empty((len(scales), size, size, 3), dtype=np.uint8)
    for index, scale in enumerate(scales):
        box = _box(image.width, image.height, scale, rng)
        crop = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box=box))
        crops[index] = crop[:, ::-1] if rng.random() < 0.5 else crop
    return crops


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
