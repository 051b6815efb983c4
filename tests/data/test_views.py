"""Tile boxes worked out by hand, and views that show what they should."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from roadwork.data.views import Box, Tiles, make_views, tile_boxes, tile_count, view_count


def test_boxes_of_a_wide_picture() -> None:
    # 512 x 288: side = min(288, max(ceil(512 / 3), 288 / 2)) = 171; steps 341 / 2 and 117 / 2
    boxes = tile_boxes(512, 288, 9)
    assert [box[:2] for box in boxes] == [
        (0, 0), (170, 0), (341, 0),
        (0, 58), (170, 58), (341, 58),
        (0, 117), (170, 117), (341, 117),
    ]  # fmt: skip
    assert {(right - left, bottom - top) for left, top, right, bottom in boxes} == {(171, 171)}


def test_boxes_of_a_square_overlap_by_half() -> None:
    boxes = tile_boxes(100, 100, 9)
    assert boxes[0] == (0, 0, 50, 50)
    assert boxes[4] == (25, 25, 75, 75)
    assert boxes[8] == (50, 50, 100, 100)


def test_boxes_of_a_tall_picture_are_the_wide_ones_turned() -> None:
    turned = {(t, left, b, right) for left, t, right, b in tile_boxes(288, 512, 9)}
    assert turned == set(tile_boxes(512, 288, 9))


def test_no_tiles() -> None:
    assert tile_boxes(512, 288, 0) == []
    assert view_count(0) == 1
    assert view_count(9) == 10
    assert (tile_count(0), tile_count(9), tile_count("aspect")) == (0, 9, 9)
    assert view_count("aspect") == 10


def rows_of(boxes: list[Box]) -> list[tuple[int, list[int]]]:
    """Top edge of each row, and the left edges in it."""
    tops = sorted({top for _, top, _, _ in boxes})
    return [(top, [left for left, t, _, _ in boxes if t == top]) for top in tops]


@pytest.mark.parametrize(
    ("size", "side", "rows"),
    [
        # 1000 / (3 - 2 / 4) = 400; steps of 600 / 2
        ((1000, 1000), 400, [(0, [0, 300, 600]), (300, [0, 300, 600]), (600, [0, 300, 600])]),
        # 4:3. Three rows need max(300, 400) / 2.5 = 160, two max(300 / 1.75, 400 / 3.25) = 172.
        ((400, 300), 160, [(0, [0, 120, 240]), (70, [0, 120, 240]), (140, [0, 120, 240])]),
        # 16:9. Three rows need 1600 / 2.5 = 640, two max(900 / 1.75, 1600 / 3.25) = 514.3.
        (
            (1600, 900),
            515,
            [(0, [0, 362, 723, 1085]), (385, [0, 271, 542, 814, 1085])],
        ),
        # 3:1. Three rows need 1200 and do not fit, two max(571.4, 3000 / 3.25 = 923.1).
        (
            (3000, 1000),
            924,
            [(0, [0, 692, 1384, 2076]), (76, [0, 519, 1038, 1557, 2076])],
        ),
        # 5:1. Two rows need 154 and do not fit; one row, steps of 400 / 8.
        ((500, 100), 100, [(0, [0, 50, 100, 150, 200, 250, 300, 350, 400])]),
        # 12:1 is more than nine squares can cover: even steps of 1100 / 8.
        ((1200, 100), 100, [(0, [0, 138, 275, 412, 550, 688, 825, 962, 1100])]),
    ],
)
def test_boxes_follow_the_aspect(
    size: tuple[int, int], side: int, rows: list[tuple[int, list[int]]]
) -> None:
    boxes = tile_boxes(*size, "aspect")
    assert rows_of(boxes) == rows
    assert {(right - left, bottom - top) for left, top, right, bottom in boxes} == {(side, side)}


def test_a_tall_picture_has_the_boxes_of_the_wide_one_turned() -> None:
    turned = [(t, left, b, right) for left, t, right, b in tile_boxes(900, 1600, "aspect")]
    assert turned == tile_boxes(1600, 900, "aspect")


@given(short=st.integers(8, 1500), ratio=st.floats(1, 9), upright=st.booleans())
def test_boxes_by_aspect_cover_every_pixel_and_keep_small_things_whole(
    short: int, ratio: float, upright: bool
) -> None:
    long = min(int(short * ratio), 9 * short)
    width, height = (short, long) if upright else (long, short)
    boxes = tile_boxes(width, height, "aspect")
    side = boxes[0][2] - boxes[0][0]
    assert len(boxes) == 9
    across, down = (1, 0) if upright else (0, 1)
    rows: dict[int, list[int]] = {}
    for box in boxes:
        assert box[0] >= 0 and box[2] <= width and box[2] - box[0] == side
        assert box[1] >= 0 and box[3] <= height and box[3] - box[1] == side
        rows.setdefault(box[down], []).append(box[across])
    # Positions are whole pixels, so an overlap may be one less than a quarter of the side.
    overlap = side / 4 - 1 if long <= 7 * short else -1
    for edge, starts in [(short, sorted(rows)), *((long, sorted(row)) for row in rows.values())]:
        assert (starts[0], starts[-1] + side) == (0, edge)
        assert all(start + side - after >= overlap for start, after in pairwise(starts))


@given(width=st.integers(16, 3000), ratio=st.floats(1 / 3, 3))
def test_tiles_cover_every_pixel(width: int, ratio: float) -> None:
    height = max(16, round(width * ratio))
    if max(width, height) > 3 * min(width, height):
        return
    boxes = tile_boxes(width, height, 9)
    assert len(boxes) == 9
    columns, rows = np.zeros(width, bool), np.zeros(height, bool)
    for left, top, right, bottom in boxes:
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        assert right - left == bottom - top
        columns[left:right] = True
        rows[top:bottom] = True
    # the boxes are a full grid, so that covered columns and rows cover every pixel
    assert columns.all()
    assert rows.all()


def test_views_show_the_whole_and_its_parts() -> None:
    pixels = np.zeros((90, 90, 3), np.uint8)
    pixels[:45, :45] = 255  # the first tile, exactly
    views = make_views(Image.fromarray(pixels), 32, 9)
    assert views.shape == (10, 32, 32, 3)
    assert views.dtype == np.uint8
    # the bicubic kernel reaches two steps of the finer grid across the edge of its box
    assert (views[1, :28, :28] == 255).all()
    assert (views[9, 4:, 4:] == 0).all()
    assert (views[0, :14, :14] == 255).all()
    assert (views[0, 18:] == 0).all()


@pytest.mark.parametrize("tiles", [0, 9, "aspect"])
def test_a_flat_picture_gives_flat_views(tiles: Tiles) -> None:
    views = make_views(Image.new("RGB", (70, 50), (10, 20, 30)), 16, tiles)
    assert np.array_equal(np.unique(views.reshape(-1, 3), axis=0), [[10, 20, 30]])


def test_views_depend_on_their_box_alone() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (90, 90, 3), dtype=np.uint8)
    before = make_views(Image.fromarray(pixels), 32, 9)
    pixels[45:, 45:] = 0
    after = make_views(Image.fromarray(pixels), 32, 9)
    assert np.array_equal(before[1, :28, :28], after[1, :28, :28])
    assert not np.array_equal(before[9], after[9])


@given(
    width=st.integers(16, 160),
    height=st.integers(16, 160),
    size=st.integers(8, 96),
    tiles=st.sampled_from([0, 9, "aspect"]),
)
def test_shared_work_changes_no_byte(width: int, height: int, size: int, tiles: Tiles) -> None:
    pixels = np.random.default_rng(width * height).integers(0, 256, (height, width, 3), np.uint8)
    image = Image.fromarray(pixels)
    boxes = [(0, 0, width, height), *tile_boxes(width, height, tiles)]
    alone = [image.resize((size, size), Image.Resampling.BICUBIC, box=box) for box in boxes]
    assert (make_views(image, size, tiles) == np.stack([np.asarray(v) for v in alone])).all()
