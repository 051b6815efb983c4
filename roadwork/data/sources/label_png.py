"""Label PNGs: pictures whose pixels are ids, read without loss or refused with a reason."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from roadwork.data.decode import Refusal
from roadwork.data.sources.rows import Verdict
from roadwork.data.storage import read_bytes

__all__ = ["read_ids"]

_MODES = {8: ("L", "P"), 16: ("I;16", "I;16B", "I")}


def read_ids(uri: str, bits: int, size: tuple[int, int] | None) -> NDArray[Any] | Verdict:
    """Ids of a PNG, shape (height, width), or the reason why there are none.

    Args:
        uri: address of the PNG.
        bits: 8 (class ids, grey or palette) or 16 (class and instance in one number).
        size: width and height of its photograph; None: not known.
    """
    try:
        data = read_bytes(uri)
    except OSError as error:
        return Verdict(str(Refusal.MISSING), f"cannot be read: {error.strerror or error}")
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            if image.mode not in _MODES[bits]:
                return Verdict(
                    "wrong_depth",
                    f"is a PNG of mode {image.mode}, but ids of {bits} bits are expected: it was "
                    "converted on the way; take the published file",
                )
            if size is not None and image.size != size:
                return Verdict(
                    "size_mismatch",
                    f"has {image.width} x {image.height} pixels, but its photograph has "
                    f"{size[0]} x {size[1]}: take both from the same release",
                )
            return np.asarray(image)
    except UnidentifiedImageError:
        return Verdict("damaged_labels", "is no PNG: fetch it again")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return Verdict("damaged_labels", f"is a damaged PNG: {error}; fetch it again")
