from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from roadwork.data.thumbnails import thumbnail


def noise(edge: int) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (edge, edge * 2, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("most", [4_000, 12_288, 200_000])
def test_it_fits_and_keeps_the_shape(most: int) -> None:
    found = thumbnail(noise(300), most)
    assert found is not None
    assert len(found) <= most
    image = Image.open(io.BytesIO(found))
    assert image.format == "JPEG"
    assert image.width == 2 * image.height


def test_more_room_gives_a_larger_or_better_picture() -> None:
    small, large = thumbnail(noise(300), 4_000), thumbnail(noise(300), 200_000)
    assert small is not None
    assert large is not None
    assert len(small) < len(large)
    assert Image.open(io.BytesIO(large)).width == 240


def test_a_small_picture_is_not_enlarged() -> None:
    found = thumbnail(noise(20), 12_288)
    assert found is not None
    assert Image.open(io.BytesIO(found)).size == (40, 20)


def test_what_cannot_be_shown_is_none() -> None:
    assert thumbnail(b"not an image", 12_288) is None
    assert thumbnail(noise(300), 100) is None
