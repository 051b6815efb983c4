"""Defects planted on purpose: unusable files, and copies of images in other drives."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

__all__ = ["COPIES", "FAULTS", "Copy", "Fault", "near_duplicate"]

HUGE = (12000, 9000)


@dataclass(frozen=True)
class Fault:
    """A kind of unusable file.

    Attributes:
        name: Value of the ``planted`` column.
        suffix: File name ending.
        make: Turns a good JPEG into the bad file's bytes.
    """

    name: str
    suffix: str
    make: Callable[[bytes], bytes]


@dataclass(frozen=True)
class Copy:
    """A kind of planted copy: drive ``i`` holds one when ``i % every == turn``.

    Attributes:
        name: First part of the ``planted`` column.
        every: Period in drives.
        turn: Place in the period.
        make: Turns the original's bytes into the copy's.
    """

    name: str
    every: int
    turn: int
    make: Callable[[bytes], bytes]


def corrupt(jpeg: bytes) -> bytes:
    """A JPEG whose frame header is overwritten: it opens like a JPEG and cannot be decoded."""
    start = jpeg.index(b"\xff\xc0")
    return jpeg[: start + 2] + b"\x00\x02" + b"\xa5" * 64 + jpeg[start + 68 :]


def truncated(jpeg: bytes) -> bytes:
    """The first two fifths of a JPEG."""
    return jpeg[: len(jpeg) * 2 // 5]


def empty(jpeg: bytes) -> bytes:
    """No bytes at all."""
    return b""


def not_an_image(jpeg: bytes) -> bytes:
    """A web server's error page under an image's name."""
    return b"<!DOCTYPE html><html><body><h1>404 Not Found</h1></body></html>\n"


def huge(jpeg: bytes) -> bytes:
    """A flat PNG of 12000 x 9000 pixels: a few kilobytes on disk, 324 MB as RGB."""
    out = io.BytesIO()
    Image.new("1", HUGE, 1).save(out, "PNG", compress_level=9)
    return out.getvalue()


def near_duplicate(jpeg: bytes) -> bytes:
    """The same picture at 7/8 of the size, encoded again at JPEG quality 70."""
    with Image.open(io.BytesIO(jpeg)) as image:
        small = image.resize(
            (image.width * 7 // 8, image.height * 7 // 8), Image.Resampling.BICUBIC
        )
    out = io.BytesIO()
    small.save(out, "JPEG", quality=70)
    return out.getvalue()


def same_bytes(jpeg: bytes) -> bytes:
    """The same file."""
    return jpeg


FAULTS: tuple[Fault, ...] = (
    Fault("corrupt", ".jpg", corrupt),
    Fault("truncated", ".jpg", truncated),
    Fault("empty", ".jpg", empty),
    Fault("not_an_image", ".jpg", not_an_image),
    Fault("huge", ".png", huge),
)

# One exact and one near copy in 16 drives is 1 to 2 % of the images.
COPIES: tuple[Copy, ...] = (
    Copy("duplicate", 16, 5, same_bytes),
    Copy("near_duplicate", 16, 9, near_duplicate),
)
