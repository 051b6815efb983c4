"""Decoding: every fault has its reason, and every kind of picture comes out upright and in RGB."""

from __future__ import annotations

import contextlib
import io
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from roadwork.data.decode import Refusal, UnreadableImage, decode_image
from roadwork.errors import InputError


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def street(size: tuple[int, int] = (64, 48)) -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (*size[::-1], 3), dtype=np.uint8))


def png_header(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header claims any size."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = b""
    for kind, data in ((b"IHDR", head), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")):
        body = kind + data
        chunks += struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + chunks


JPEG = encoded(street(), "JPEG", quality=90)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", Refusal.EMPTY),
        (b"Dear sir or madam, this is no picture.", Refusal.NOT_AN_IMAGE),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", Refusal.NOT_AN_IMAGE),
        (encoded(street(), "GIF"), Refusal.NOT_AN_IMAGE),
        (JPEG[: len(JPEG) // 2], Refusal.CORRUPT),
        (encoded(street())[:-30], Refusal.CORRUPT),
        (JPEG[:2] + b"\x00" * 400, Refusal.NOT_AN_IMAGE),
        (encoded(street((15, 100))), Refusal.TOO_SMALL),
        (png_header(100_000, 100_000), Refusal.TOO_LARGE),
        (png_header(8000, 8000), Refusal.TOO_LARGE),
        (png_header(800, 800), Refusal.CORRUPT),
    ],
)
def test_faults(data: bytes, reason: Refusal) -> None:
    with pytest.raises(UnreadableImage) as caught:
        decode_image(data)
    assert caught.value.reason is reason
    assert caught.value.detail == str(caught.value)
    assert isinstance(caught.value, InputError)


def test_an_enormous_claim_costs_nothing() -> None:
    start = time.process_time()
    for _ in range(50):
        with pytest.raises(UnreadableImage):
            decode_image(png_header(2**31 - 1, 2**31 - 1))
    assert time.process_time() - start < 2  # decoding one of them would need petabytes


def test_the_limit_is_the_callers() -> None:
    data = encoded(street((64, 48)))
    assert decode_image(data, max_megapixels=64 * 48 / 1e6).size == (64, 48)
    with pytest.raises(UnreadableImage, match=r"64 x 48 pixels are more than 0\.003 megapixels"):
        decode_image(data, max_megapixels=0.003)


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(street()))
    assert np.array_equal(np.asarray(decode_image(path)), np.asarray(street()))
    for missing in (tmp_path / "b.png", tmp_path):
        with pytest.raises(UnreadableImage) as caught:
            decode_image(missing)
        assert caught.value.reason is Refusal.MISSING


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_lossless_formats_keep_every_pixel(kind: str) -> None:
    assert np.array_equal(np.asarray(decode_image(encoded(street(), kind))), np.asarray(street()))


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "MPO"])
def test_lossy_formats_are_read(kind: str) -> None:
    flat = Image.new("RGB", (32, 32), (200, 100, 50))
    pixels = np.asarray(decode_image(encoded(flat, kind)), int)
    assert pixels.shape == (32, 32, 3)
    assert np.abs(pixels - [200, 100, 50]).max() <= 4


def test_exif_rotation_is_applied() -> None:
    image = Image.new("RGB", (60, 40))
    image.paste((255, 0, 0), (0, 0, 30, 20))  # red at the top left as stored
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to be upright
    upright = decode_image(encoded(image, exif=exif))
    assert upright.size == (40, 60)
    assert upright.getpixel((35, 5)) == (255, 0, 0)
    assert upright.getpixel((5, 5)) == (0, 0, 0)


def test_cmyk() -> None:
    data = encoded(Image.new("CMYK", (32, 32), (0, 255, 255, 0)), "JPEG", quality=95)
    red, green, blue = decode_image(data).getpixel((16, 16))  # pyright: ignore[reportGeneralTypeIssues]
    assert red > 240
    assert max(green, blue) < 16


@pytest.mark.parametrize(("value", "wanted"), [(0, 0), (65535, 255), (257 * 100, 100)])
def test_sixteen_bits_are_scaled(value: int, wanted: int) -> None:
    deep = Image.fromarray(np.full((32, 32), value, np.uint16))
    assert decode_image(encoded(deep)).getpixel((3, 3)) == (wanted,) * 3


def test_transparency_is_laid_on_black() -> None:
    clear = Image.new("RGBA", (32, 32), (200, 100, 50, 0))
    clear.paste((200, 100, 50, 255), (0, 0, 16, 32))
    clear.putpixel((20, 20), (200, 100, 50, 128))
    out = decode_image(encoded(clear))
    assert out.mode == "RGB"
    assert out.getpixel((0, 0)) == (200, 100, 50)
    assert out.getpixel((31, 0)) == (0, 0, 0)
    assert out.getpixel((20, 20)) == (100, 50, 25)


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "PA", "I", "F"])
def test_other_modes_become_rgb(mode: str) -> None:
    image = Image.new("L", (32, 32), 255).convert(mode)
    if mode == "I":
        image = Image.fromarray(np.full((32, 32), 65535, np.int32))
    kind = "TIFF" if mode in {"F", "I", "PA"} else "PNG"
    if mode == "PA":
        image, kind = image.convert("LA"), "PNG"
    out = decode_image(encoded(image, kind))
    assert out.mode == "RGB"
    assert out.getpixel((0, 0)) == (255, 255, 255)


@given(st.binary(max_size=300), st.integers(0, len(JPEG)))
@settings(max_examples=60)
def test_no_bytes_raise_anything_else(noise: bytes, cut: int) -> None:
    for data in (noise, JPEG[:cut] + noise + JPEG[cut + len(noise) :]):
        with contextlib.suppress(UnreadableImage):
            assert decode_image(data).mode == "RGB"
