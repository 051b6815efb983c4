"""The four augmentation levels that turn a photograph into a StreetVision query.

Source: ``natix/utils/image_transforms.py`` of natixnetwork/streetvision-subnet, commit 28a1755,
which uses torchvision; here in numpy and Pillow. What the code does, rather than says:

- the rotation takes the nearest pixel and leaves black corners, its ``interpolation`` argument is
  never passed on;
- the crop takes 20 to 100 % of the area and is square, so that of a 16:9 photograph no more than
  56 % remains;
- flips never happen: both classes are built with parameters that say "do not flip".
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from roadwork.evaluation.streetvision.distortions import DISTORTIONS, Pixels

__all__ = ["LEVELS", "SIZE", "Augmentation", "AugmentationLevel", "augment", "encode_query"]

SIZE = 224
"""Edge of a query in pixels."""

_MAX_ANGLE = 20.0
_MIN_SCALE = 0.2
_CROP_TRIALS = 10


@dataclass(frozen=True)
class AugmentationLevel:
    """One level, drawn for a quarter of the challenges.

    Attributes:
        title: how people call it.
        cropped: rotated and cropped at random, instead of cropped to the centre.
        distortions: names in ``DISTORTIONS``, in order.
        strongest: the level of each is drawn from 0 (none) to this.
    """

    title: str
    cropped: bool
    distortions: tuple[str, ...] = ()
    strongest: int = 0


LEVELS: tuple[AugmentationLevel, ...] = (
    AugmentationLevel("centre", cropped=False),
    AugmentationLevel("rotated crop", cropped=True),
    AugmentationLevel(
        "and mildly distorted",
        cropped=True,
        distortions=("saturation", "contrast", "downsample"),
        strongest=1,
    ),
    AugmentationLevel(
        "and distorted, noisy, blurred",
        cropped=True,
        distortions=("saturation", "contrast", "downsample", "noise", "blur"),
        strongest=2,
    ),
)
"""Levels 0 to 3."""


@dataclass(frozen=True)
class Augmentation:
    """What was done to one photograph.

    Attributes:
        level: index in ``LEVELS``.
        angle: degrees, anticlockwise.
        box: left, top, right, bottom of the crop, in pixels of the (rotated) photograph.
        distorted: level of each distortion that was applied, by name; 0 is left out.
    """

    level: int
    angle: float
    box: tuple[int, int, int, int]
    distorted: tuple[tuple[str, int], ...] = ()


def augment(
    image: Image.Image, level: int, rng: np.random.Generator
) -> tuple[Pixels, Augmentation]:
    """Pixels uint8 (224, 224, 3) of a query, and how they were made.

    Args:
        image: RGB photograph of any size.
        level: index in ``LEVELS``.
        rng: gives every random number.
    """
    spec = LEVELS[level]
    if not spec.cropped:
        box = _centre(*image.size)
        small = image.crop(box).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        return np.asarray(small), Augmentation(level, 0.0, box)
    angle = float(rng.uniform(-_MAX_ANGLE, _MAX_ANGLE))
    box = _random_square(*image.size, rng)
    pixels = _shrink(_rotated_part(np.asarray(image), angle, box))
    strengths = [
        (name, int(rng.integers(0, spec.strongest, endpoint=True))) for name in spec.distortions
    ]
    for name, strength in strengths:
        if strength:
            distortion = DISTORTIONS[name]
            pixels = distortion.apply(pixels, distortion.strengths[strength - 1], rng)
    distorted = tuple((name, strength) for name, strength in strengths if strength)
    return pixels, Augmentation(level, angle, box, distorted)


def encode_query(pixels: Pixels) -> bytes:
    """JPEG with Pillow's default quality (75), as the query carries it."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def _centre(width: int, height: int) -> tuple[int, int, int, int]:
    side = min(width, height)
    # Half a pixel goes to the even side, as torchvision's CenterCrop rounds it.
    left, top = round((width - side) / 2), round((height - side) / 2)
    return left, top, left + side, top + side


def _random_square(width: int, height: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """A square of 20 to 100 % of the area, drawn again while it is too large; then the centre."""
    for _ in range(_CROP_TRIALS):
        side = round(math.sqrt(width * height * rng.uniform(_MIN_SCALE, 1.0)))
        if 0 < side <= min(width, height):
            top = int(rng.integers(height - side, endpoint=True))
            left = int(rng.integers(width - side, endpoint=True))
            return left, top, left + side, top + side
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def _rotated_part(pixels: Pixels, angle: float, box: tuple[int, int, int, int]) -> Pixels:
    """The pixels inside ``box`` after a rotation about the centre; black where nothing was.

    The places are computed in float32 in the order in which torch's ``grid_sample`` does, so that
    the nearest pixel is the same but for ties.
    """
    height, width = pixels.shape[:2]
    left, top, right, bottom = box
    turn = math.radians(angle)
    one = np.float32(1)
    x = np.arange(left, right, dtype=np.float32) - np.float32((width - 1) / 2)
    y = (np.arange(top, bottom, dtype=np.float32) - np.float32((height - 1) / 2))[:, None]
    cosine, sine = np.float32(math.cos(turn)), np.float32(math.sin(turn))
    half_width, half_height = np.float32(width / 2), np.float32(height / 2)
    across = x * (cosine / half_width) + y * (-sine / half_width)
    down = x * (sine / half_height) + y * (cosine / half_height)
    column = np.rint(((across + one) * np.float32(width) - one) / 2).astype(np.int64)
    row = np.rint(((down + one) * np.float32(height) - one) / 2).astype(np.int64)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    found = pixels[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)]
    return np.where(inside[..., None], found, np.uint8(0))


def _shrink(pixels: Pixels) -> Pixels:
    """Resize to 224 x 224, bilinear with a filter against aliasing, in float32; then cut off."""
    scaled = pixels.astype(np.float32) / np.float32(255)
    channels = [
        np.asarray(
            Image.fromarray(np.ascontiguousarray(scaled[..., k])).resize(
                (SIZE, SIZE), Image.Resampling.BILINEAR
            )
        )
        for k in range(3)
    ]
    return (np.stack(channels, axis=-1) * np.float32(255)).clip(0, 255).astype(np.uint8)
