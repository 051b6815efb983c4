"""Golden pictures: generated scenes that travel in a bundle, for its self-test.

They are drawn, not photographed, so that a bundle never carries anybody's photograph.
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from roadwork.data.decode import decode_image
from roadwork.data.views import Tiles, make_views

__all__ = ["golden_pictures", "views_of"]

_CAMERAS = ("natix-like", "roadwork-like", "vistas-like")
_TIMES = ("Light", "Light", "Twilight", "Dark")


def golden_pictures(count: int) -> list[bytes]:
    """``count`` JPEG files of different scenes; every other one shows works."""
    from roadwork.data.scenes import render_scene

    pictures = []
    for index in range(count):
        scene = render_scene(
            10_000 + index,
            roadwork=index % 2 == 1,
            camera=_CAMERAS[index % len(_CAMERAS)],
            time_of_day=_TIMES[index // 2 % len(_TIMES)],
        )
        pictures.append(_jpeg(scene))
    return pictures


def views_of(pictures: list[bytes], size: int, tiles: Tiles) -> NDArray[np.uint8]:
    """Views (N, V, S, S, 3) of encoded pictures, read like any upload."""
    return np.stack([make_views(decode_image(picture), size, tiles) for picture in pictures])


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=88)
    return buffer.getvalue()
