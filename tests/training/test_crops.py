"""Crops: what they depend on, their shapes, and that they lie in the picture."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from PIL import Image

from roadwork.data.loading import row_generator
from roadwork.training.crops import GLOBAL_CROPS, Crops, _box, local_size, make_crops

NAMES = [field.name for field in fields(Crops)]


def crops_of(image: Image.Image, *key: int, probability: float = 1.0) -> Crops:
    return make_crops(image, 64, 3, probability, row_generator(*key))


def noise() -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize(
    ("size", "small"), [(16, 16), (32, 16), (64, 32), (96, 48), (224, 96), (512, 224)]
)
def test_local_crops_are_three_sevenths_in_whole_patches(size: int, small: int) -> None:
    assert local_size(size) == small


def test_shapes_and_types() -> None:
    found = crops_of(noise(), 1, 2, 3)
    assert found.large.shape == (GLOBAL_CROPS, 64, 64, 3) and found.large.dtype == np.uint8
    assert found.small.shape == (3, 32, 32, 3) and found.small.dtype == np.uint8
    assert found.gain.shape == (5, 3) and found.gain.dtype == np.float32
    assert found.offset.shape == (5,) and found.offset.dtype == np.float32
    assert found.mask.shape == (GLOBAL_CROPS, 16) and found.mask.dtype == np.bool_
    none = make_crops(noise(), 64, 0, 0.0, row_generator(1, 2, 3))
    assert none.small.shape == (0, 32, 32, 3) and none.gain.shape == (2, 3)
    assert not none.mask.any()


def test_crops_depend_on_the_seed_the_pass_and_the_row_alone() -> None:
    image = noise()
    first, again = crops_of(image, 1, 2, 3), crops_of(image, 1, 2, 3)
    for name in NAMES:
        assert np.array_equal(getattr(first, name), getattr(again, name))
    for key in [(0, 2, 3), (1, 0, 3), (1, 2, 0)]:
        other = crops_of(image, *key)
        for name in NAMES:
            assert not np.array_equal(getattr(first, name), getattr(other, name))
    assert (first.large[0] != first.large[1]).any()


def test_pictures_do_not_depend_on_whether_patches_are_hidden() -> None:
    """The masks are drawn last, so that runs with and without iBOT see the same crops."""
    with_masks, without = crops_of(noise(), 1, 2, 3), crops_of(noise(), 1, 2, 3, probability=0.0)
    assert np.array_equal(with_masks.large, without.large)
    assert np.array_equal(with_masks.small, without.small)
    assert np.array_equal(with_masks.gain, without.gain)


@pytest.mark.parametrize(("width", "height"), [(60, 40), (16, 300), (300, 16), (17, 17)])
@pytest.mark.parametrize("scale", [(0.4, 1.0), (0.12, 0.4)])
def test_boxes_lie_in_the_picture(width: int, height: int, scale: tuple[float, float]) -> None:
    rng = np.random.default_rng(0)
    boxes = np.array([_box(width, height, scale, rng) for _ in range(500)])
    left, top, right, bottom = boxes.T
    assert (left >= 0).all() and (top >= 0).all()
    assert (right <= width + 1e-9).all() and (bottom <= height + 1e-9).all()
    shares = (right - left) * (bottom - top) / (width * height)
    assert (shares > 0).all()
    assert (shares <= scale[1] + 1e-9).all()
    if max(width, height) < 2 * min(width, height):  # elsewhere the ratio is cut at the edge
        assert np.median(shares) > scale[0]


def test_a_flat_picture_gives_flat_crops_and_the_light_is_moderate() -> None:
    """Resampling reads no pixel outside the picture."""
    image = Image.new("RGB", (33, 21), (200, 30, 90))
    for row in range(20):
        crops = crops_of(image, 0, 0, row)
        assert (crops.large == np.array([200, 30, 90])).all()
        assert (crops.small == np.array([200, 30, 90])).all()
        assert (crops.gain >= 0.8 * 0.93 - 1e-6).all()
        assert (crops.gain <= 1.25 * 1.07 + 1e-6).all()
        assert (np.abs(crops.offset) <= 0.08).all()
