"""Views: one global picture and overlapping square tiles, as the network sees them.

The same code cuts views for training, evaluation and serving; it needs Pillow and numpy only.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["RESAMPLING", "Box", "Tiles", "make_views", "tile_boxes", "tile_count", "view_count"]

Tiles = Literal[0, 9, "aspect"]
"""How a picture is cut: not at all, 3 x 3, or into nine tiles by its aspect."""

Box = tuple[int, int, int, int]
"""Left, top, right and bottom edge in pixels."""

RESAMPLING = "bicubic"
_GRID = 3
_BUDGET = 9
# Tiles in each row of the arrangements of nine. More stand in the last row of two: the lower half
# of a street photograph shows the street.
_ROWS = ((3, 3, 3), (4, 5), (9,))
_OVERLAP = (1, 4)  # of neighbouring tiles, as a fraction of the side


def tile_count(tiles: Tiles) -> int:
    """Tiles of one photograph: as many for every picture, so that batches are equal."""
    return _BUDGET if tiles == "aspect" else tiles


def view_count(tiles: Tiles) -> int:
    """Views of one photograph: the global one and its tiles."""
    return 1 + tile_count(tiles)


def tile_boxes(width: int, height: int, tiles: Tiles) -> list[Box]:
    """Boxes of equal squares on a picture of some size in pixels.

    ``9`` is a 3 x 3 grid. The side is the least that covers the long edge with three squares and
    the short edge with overlap: ``max(ceil(long / 3), ceil(short / 2))``, at most the short edge.
    Every pixel lies in a tile as long as the picture is at most three times as long as it is high.
    On wide pictures the tiles of a row touch and those of a column nearly coincide.

    ``aspect`` puts the same number where it shows most. A picture that is not higher than wide has
    three rows of 3, two rows of 4 and 5, or one row of 9, whichever has the smallest squares, and
    so the largest magnification, of those in which the rows cover the height and each row covers
    the width, neighbours overlapping by a quarter of the side. With n squares of side s along an
    edge that is ``s >= edge / (n - (n - 1) / 4)``, and s is at most the short edge. So 1:1 and 4:3
    have 3 + 3 + 3, 3:2, 16:9 and 3:1 have 4 + 5, and from 13:4 on there is one row of 9, which
    overlaps by a quarter up to 7:1 and covers every pixel up to 9:1. Up to 7:1 whatever is at most
    a quarter of the side wide and high lies whole in a tile. Pictures higher than wide are treated
    alike with rows and columns exchanged.
    """
    if tiles == "aspect":
        if width >= height:
            return _aspect_boxes(width, height)
        return [(t, left, b, right) for left, t, right, b in _aspect_boxes(height, width)]
    if tiles == 0:
        return []
    short, long = sorted((width, height))
    side = min(short, max(-(-long // _GRID), -(-short // 2)))
    lefts = [round(i * (width - side) / (_GRID - 1)) for i in range(_GRID)]
    tops = [round(i * (height - side) / (_GRID - 1)) for i in range(_GRID)]
    return [(left, top, left + side, top + side) for top in tops for left in lefts]


def _aspect_boxes(width: int, height: int) -> list[Box]:
    """Nine squares on a picture that is not higher than wide, row by row."""
    sides = {
        rows: max(_least_side(height, len(rows)), _least_side(width, min(rows))) for rows in _ROWS
    }
    fitting = [rows for rows in _ROWS if sides[rows] <= height]
    rows = min(fitting, key=lambda rows: sides[rows], default=_ROWS[-1])
    side = min(sides[rows], height)
    return [
        (left, top, left + side, top + side)
        for count, top in zip(rows, _starts(height, side, len(rows)), strict=True)
        for left in _starts(width, side, count)
    ]


def _least_side(edge: int, count: int) -> int:
    """The least side with which ``count`` overlapping squares cover an edge, in whole pixels."""
    part, whole = _OVERLAP
    return -(-edge * whole // (count * whole - (count - 1) * part))


def _starts(edge: int, side: int, count: int) -> list[int]:
    """Even positions of ``count`` squares, the first and the last at the ends of the edge."""
    if count == 1:
        return [0]
    return [round(i * (edge - side) / (count - 1)) for i in range(count)]


def make_views(image: Image.Image, size: int, tiles: Tiles) -> NDArray[np.uint8]:
    """Cut an RGB image into views.

    Args:
        image: upright RGB image.
        size: edge of a view in pixels.
        tiles: 0, 9 or ``aspect``, see :func:`tile_boxes`.

    Returns:
        uint8 array of shape (1 + T, size, size, 3), with T of :func:`tile_count`; the first is the
        whole picture, squeezed to a square.
    """
    views = np.empty((view_count(tiles), size, size, 3), dtype=np.uint8)
    boxes = [(0, 0, *image.size), *tile_boxes(*image.size, tiles)]
    strips = _strips(image, size, boxes)
    for index, box in enumerate(boxes):
        left, top, right, bottom = box
        strip = strips.get((left, right))
        source, part = (image, box) if strip is None else (strip, (0, top, size, bottom))
        view = source.resize((size, size), Image.Resampling.BICUBIC, box=part)
        views[index] = np.asarray(view)
    return views


def _strips(image: Image.Image, size: int, boxes: list[Box]) -> dict[tuple[int, int], Image.Image]:
    """Columns of the picture at their final width, by left and right edge, where tiles share one.

    Pillow resizes along the rows first and then along the columns, and rounds in between. So tiles
    above each other may share the first pass, which is most of the work, and no byte changes. Of
    pictures higher than wide some versions begin with the columns: there nothing is shared.
    """
    if image.width < image.height:
        return {}
    heights: dict[tuple[int, int], int] = {}
    for left, top, right, bottom in boxes:
        heights[left, right] = heights.get((left, right), 0) + bottom - top
    return {
        (left, right): image.resize(
            (size, image.height), Image.Resampling.BICUBIC, box=(left, 0, right, image.height)
        )
        for (left, right), height in heights.items()
        if height > image.height
    }
