"""Thumbnails: small JPEGs of photographs, for reports."""

from __future__ import annotations

import io

from PIL import Image

from roadwork.data.decode import UnreadableImage, decode_image
from roadwork.data.storage import read_bytes
from roadwork.errors import DataError

__all__ = ["thumbnail"]

_EDGES = (240, 200, 160, 120)
_QUALITIES = (80, 65, 50)


def thumbnail(image: bytes | str, most_bytes: int, max_megapixels: float = 50.0) -> bytes | None:
    """A JPEG of at most ``most_bytes`` bytes, as large and as good as fits.

    Args:
        image: an encoded image, or the address of one.
        most_bytes: limit of the result.
        max_megapixels: larger images are not decoded.

    Returns:
        The JPEG; None for an image that cannot be read, or that does not fit however small.
    """
    try:
        data = read_bytes(image) if isinstance(image, str) else image
        picture = decode_image(data, max_megapixels)
    except (UnreadableImage, OSError, DataError):
        return None
    for edge in _EDGES:
        small = picture.copy()
        small.thumbnail((edge, edge), Image.Resampling.BICUBIC)
        for quality in _QUALITIES:
            buffer = io.BytesIO()
            small.save(buffer, "JPEG", quality=quality, optimize=True)
            if buffer.tell() <= most_bytes:
                return buffer.getvalue()
    return None
