"""Tile boxes worked out by hand, and views that show what they should."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from roadwork.data.views import make_views, tile_boxes, view_count


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


@pytest.mark.parametrize("tiles", [0, 9])
def test_a_flat_picture_gives_flat_views(tiles: int) -> None:
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
