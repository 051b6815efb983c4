"""Views: one global picture and a grid of overlapping square tiles, as the network sees them.

The same code cuts views for training, evaluation and serving; it needs Pillow and numpy only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["RESAMPLING", "make_views", "tile_boxes", "view_count"]

RESAMPLING = "bicubic"
_GRID = 3


def view_count(tiles: int) -> int:
    """Views of one photograph: the global one and its tiles."""
    return 1 + tiles


def tile_boxes(width: int, height: int, tiles: int) -> list[tuple[int, int, int, int]]:
    """Boxes (left, top, right, bottom) in pixels of a 3 x 3 grid of equal squares.

    The side is the least that covers the long edge with three squares and the short edge with
    overlap: ``max(ceil(long / 3), ceil(short / 2))``, at most the short edge. Every pixel lies in
    a tile as long as the picture is at most three times as long as it is high.
    """
    if tiles == 0:
        return []
    short, long = sorted((width, height))
    side = min(short, max(-(-long // _GRID), -(-short // 2)))
    lefts = [round(i * (width - side) / (_GRID - 1)) for i in range(_GRID)]
    tops = [round(i * (height - side) / (_GRID - 1)) for i in range(_GRID)]
    return [(left, top, left + side, top + side) for top in tops for left in lefts]


def make_views(image: Image.Image, size: int, tiles: int) -> NDArray[np.uint8]:
    """Cut an RGB image into views.

    Args:
        image: upright RGB image.
        size: edge of a view in pixels.
        tiles: 0 or 9.

    Returns:
        uint8 array of shape (1 + tiles, size, size, 3); the first is the whole picture, squeezed
        to a square.
    """
    views = np.empty((view_count(tiles), size, size, 3), dtype=np.uint8)
    boxes = [(0, 0, *image.size), *tile_boxes(*image.size, tiles)]
    for index, box in enumerate(boxes):
        view = image.resize((size, size), Image.Resampling.BICUBIC, box=box)
        views[index] = np.asarray(view)
    return views
