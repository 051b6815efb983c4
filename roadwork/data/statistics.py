"""Statistics of a picture that tell a broken or a drifted camera; never an input of a model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

__all__ = ["STATISTICS", "ImageStatistics", "image_statistics"]

STATISTICS: tuple[str, ...] = ("luminance", "contrast", "saturation", "sharpness")
_SIDE = 64


@dataclass(frozen=True)
class ImageStatistics:
    """Of the picture reduced to 64 x 64 pixels, in units of 8-bit values.

    Attributes:
        luminance: mean of the grey picture, 0 to 255.
        contrast: standard deviation of the grey picture.
        saturation: mean over pixels of largest minus smallest channel.
        sharpness: standard deviation of the Laplacian (4 neighbours) of the grey picture.
    """

    luminance: float
    contrast: float
    saturation: float
    sharpness: float


def image_statistics(image: Image.Image) -> ImageStatistics:
    """Statistics of an RGB picture; its size does not matter."""
    small = image.resize((_SIDE, _SIDE), Image.Resampling.BOX)
    colours = np.asarray(small, dtype=np.float32)
    grey = colours @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    laplacian = (
        grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * grey[1:-1, 1:-1]
    )
    return ImageStatistics(
        luminance=float(grey.mean()),
        contrast=float(grey.std()),
        saturation=float((colours.max(axis=2) - colours.min(axis=2)).mean()),
        sharpness=float(laplacian.std()),
    )
