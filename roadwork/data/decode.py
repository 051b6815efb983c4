"""Decoding: bytes of a photograph to an upright RGB image, or a reason why not.

Ingest, training and serving decode here and nowhere else, so that they see the same pixels.
"""

from __future__ import annotations

import io
import warnings
from enum import StrEnum
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from roadwork.errors import InputError

__all__ = ["FORMATS", "Refusal", "UnreadableImage", "decode_image"]

# Sizes that Pillow only warns of are refused below with an error of our own. (A filter around the
# call would not be safe: images are decoded in several threads.)
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
Image.init()  # registers the less common formats, which ``formats=`` needs

FORMATS: tuple[str, ...] = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")


class Refusal(StrEnum):
    """Why bytes are not a usable photograph."""

    MISSING = "missing"
    EMPTY = "empty"
    NOT_AN_IMAGE = "not_an_image"
    CORRUPT = "corrupt"
    TOO_LARGE = "too_large"
    TOO_SMALL = "too_small"


class UnreadableImage(InputError):
    """An image that cannot be used, with the reason as a code and as a sentence."""

    def __init__(self, reason: Refusal, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def decode_image(data: bytes | Path, max_megapixels: float = 50.0) -> Image.Image:
    """Decode to an upright RGB image (EXIF orientation applied; transparency on black).

    The header's size is checked before any pixel is decoded, so that a small file which claims an
    enormous picture costs nothing.

    Args:
        data: the encoded bytes, or a file that holds them.
        max_megapixels: larger pictures are refused.

    Raises:
        UnreadableImage: with the reason.
    """
    if isinstance(data, Path):
        try:
            data = data.read_bytes()
        except FileNotFoundError:
            raise UnreadableImage(Refusal.MISSING, "the file does not exist") from None
        except OSError as error:
            raise UnreadableImage(Refusal.MISSING, f"cannot be read: {error.strerror}") from None
    if not data:
        raise UnreadableImage(Refusal.EMPTY, "the file is empty")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        raise UnreadableImage(
            Refusal.NOT_AN_IMAGE, f"is no image of a known format ({', '.join(FORMATS)})"
        ) from None
    except Image.DecompressionBombError:
        raise UnreadableImage(
            Refusal.TOO_LARGE, f"has more than {max_megapixels:g} megapixels"
        ) from None
    except (OSError, ValueError, SyntaxError) as error:
        raise UnreadableImage(Refusal.CORRUPT, f"the header is damaged: {error}") from None
    width, height = image.size
    if width * height > max_megapixels * 1e6:
        raise UnreadableImage(
            Refusal.TOO_LARGE,
            f"{width} x {height} pixels are more than {max_megapixels:g} megapixels",
        )
    if min(width, height) < 16:
        raise UnreadableImage(Refusal.TOO_SMALL, f"{width} x {height} pixels are too few")
    try:
        image.load()
        image = ImageOps.exif_transpose(image)
        return _to_rgb(image)
    except (OSError, ValueError, SyntaxError, IndexError, EOFError) as error:
        raise UnreadableImage(
            Refusal.CORRUPT, f"the picture is damaged or cut off: {error}"
        ) from None


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info:
        image = image.convert("RGBA")
        background = Image.new("RGBA", image.size, (0, 0, 0, 255))
        return Image.alpha_composite(background, image).convert("RGB")
    if image.mode in {"I;16", "I;16B", "I;16L", "I"}:
        # Pillow clips 16-bit grey to 255 instead of scaling it.
        return image.point(lambda value: value / 257).convert("L").convert("RGB")
    return image.convert("RGB")
