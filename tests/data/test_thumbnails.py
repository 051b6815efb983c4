from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from roadwork.data.storage import write_bytes
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


def test_the_address_of_a_picture_will_do(tmp_path: Path, memory: str) -> None:
    expected = thumbnail(noise(50), 12_288)
    (tmp_path / "a.png").write_bytes(noise(50))
    write_bytes(f"{memory}/a.png", noise(50))
    assert thumbnail(str(tmp_path / "a.png"), 12_288) == expected is not None
    assert thumbnail(f"{memory}/a.png", 12_288) == expected
    assert thumbnail(f"{memory}/b.png", 12_288) is None


def test_a_damaged_container_has_no_thumbnail(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    assert thumbnail(f"{tmp_path}/a.parquet#row=0", 12_288) is None
