"""The five distortions of StreetVision's challenges, on uint8 RGB pictures.

They are those of ``natix/utils/image_transforms.py`` (natixnetwork/streetvision-subnet, commit
28a1755), written anew in numpy with the integer arithmetic of OpenCV 4.12, which the subnet calls.
Its oddities are kept: colours are turned into YCbCr as if they lay in 0..1 though they lie in
0..255, which loses up to a grey level, and "JPEG" makes the picture small and large again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

__all__ = ["DISTORTIONS", "Distortion", "Pixels"]

Pixels = NDArray[np.uint8]
"""uint8 (H, W, 3), RGB."""

Image = NDArray[np.float32]


@dataclass(frozen=True)
class Distortion:
    """One distortion: its name, what it takes at levels 1 and 2, and what it does.

    ``apply(pixels, strength, rng)`` gives new pixels of the same shape.
    """

    name: str
    title: str
    strengths: tuple[float, float]
    apply: Callable[[Pixels, float, np.random.Generator], Pixels]


def _to_ycbcr(pixels: Image) -> Image:
    """Luma and colour differences as the subnet scales them."""
    red, green, blue = np.moveaxis(pixels, -1, 0)
    luma = np.float32(0.299) * red + np.float32(0.587) * green + np.float32(0.114) * blue
    half = np.float32(0.5)
    cb = (blue - luma) * np.float32(0.564) + half
    cr = (red - luma) * np.float32(0.713) + half
    planes = np.stack([luma, cb, cr], axis=-1)
    scale = np.array([219, 224, 224], dtype=np.float32)
    return ((planes * scale + np.float32(16)) / np.float32(255)).astype(np.float32)


def _to_rgb(ycbcr: Image) -> Image:
    """Inverse of :func:`_to_ycbcr`."""
    scaled = ycbcr * np.float32(255) - np.float32(16)
    luma = scaled[..., 0] / np.float32(219)
    cb = scaled[..., 1] / np.float32(224) - np.float32(0.5)
    cr = scaled[..., 2] / np.float32(224) - np.float32(0.5)
    red = luma + np.float32(1.403) * cr
    green = luma - np.float32(0.714) * cr - np.float32(0.344) * cb
    blue = luma + np.float32(1.773) * cb
    return np.stack([red, green, blue], axis=-1).astype(np.float32)


def _saturation(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Colour differences times ``strength``; fractions are cut off, as the subnet does."""
    ycbcr = _to_ycbcr(pixels.astype(np.float32))
    half, factor = np.float32(0.5), np.float32(strength)
    ycbcr[..., 1:] = half + (ycbcr[..., 1:] - half) * factor
    return np.clip(_to_rgb(ycbcr), 0, 255).astype(np.uint8)


def _contrast(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Every value times ``strength``: the picture becomes darker."""
    return (pixels.astype(np.float32) * np.float32(strength)).astype(np.uint8)


def _downsample(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Smaller by a whole factor and back, linear both ways, without a filter against aliasing."""
    height, width = pixels.shape[:2]
    small = _resize(pixels, height // int(strength), width // int(strength))
    return _resize(small, height, width)


def _resize(pixels: Pixels, height: int, width: int) -> Pixels:
    """Linear interpolation in OpenCV's integers: weights in 1/2048, two roundings downwards."""
    old_height, old_width = pixels.shape[:2]
    values = pixels.astype(np.int64)
    if (old_height, old_width) == (2 * height, 2 * width):
        blocks = values.reshape(height, 2, width, 2, 3).sum(axis=(1, 3))
        return ((blocks + 2) >> 2).astype(np.uint8)
    left, fraction = _places(old_width, width)
    # Beyond the first and last pixel centres only that pixel counts; rows are merely repeated.
    fraction = np.where((left < 0) | (left >= old_width - 1), np.float32(0), fraction)
    left = np.clip(left, 0, old_width - 1)
    near, far = _weights(fraction)
    right = np.minimum(left + 1, old_width - 1)
    rows = values[:, left] * near[:, None] + values[:, right] * far[:, None]
    top, fraction = _places(old_height, height)
    near, far = (weight[:, None, None] for weight in _weights(fraction))
    upper = rows[np.clip(top, 0, old_height - 1)] >> 4
    lower = rows[np.clip(top + 1, 0, old_height - 1)] >> 4
    found = (((near * upper) >> 16) + ((far * lower) >> 16) + 2) >> 2
    return np.clip(found, 0, 255).astype(np.uint8)


def _places(old: int, new: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Index of the pixel before each new pixel's centre, and how far behind it that lies."""
    place = ((np.arange(new) + 0.5) * (old / new) - 0.5).astype(np.float32)
    before = np.floor(place)
    return before.astype(np.int64), place - before


def _weights(fraction: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    scale = np.float32(2048)
    near, far = np.rint((np.float32(1) - fraction) * scale), np.rint(fraction * scale)
    return near.astype(np.int64), far.astype(np.int64)


def _noise(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Gaussian noise of variance ``strength`` on luma and both colour differences."""
    ycbcr = _to_ycbcr(pixels.astype(np.float32)).astype(np.float64) / 255
    noisy = (ycbcr + np.sqrt(strength) * rng.standard_normal(ycbcr.shape)) * 255
    return np.clip(_to_rgb(noisy.astype(np.float32)), 0, 255).astype(np.uint8)


def _blur(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Gaussian of ``strength`` pixels width and a sixth of that as deviation; mirrored border.

    The weights are multiples of 1/256, as in OpenCV; at the two widths used here they sum to 1.
    """
    size = int(strength)
    place = np.arange(size) - size // 2
    kernel = np.exp(-(place**2) / (2 * (size / 6) ** 2))
    weights = np.rint(256 * kernel / kernel.sum()).astype(np.int64)
    height, width = pixels.shape[:2]
    border = (size // 2, size // 2)
    padded = np.pad(pixels.astype(np.int64), (border, border, (0, 0)), mode="reflect")
    rows = sum(weight * padded[:, k : k + width] for k, weight in enumerate(weights))
    values = sum(weight * np.asarray(rows)[k : k + height] for k, weight in enumerate(weights))
    return ((np.asarray(values) + (1 << 15)) >> 16).astype(np.uint8)


DISTORTIONS: Mapping[str, Distortion] = MappingProxyType(
    {
        distortion.name: distortion
        for distortion in (
            Distortion("saturation", "Less colour", (0.4, 0.3), _saturation),
            Distortion("contrast", "Darker", (0.85, 0.725), _contrast),
            Distortion("downsample", "Coarser (the subnet's JPEG)", (2, 3), _downsample),
            Distortion("noise", "Gaussian noise", (0.001, 0.002), _noise),
            Distortion("blur", "Gaussian blur", (7, 9), _blur),
        )
    }
)
"""In the order in which the subnet applies them. The subnet has five levels and uses the first
two."""
