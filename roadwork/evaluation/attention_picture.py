"""Attention picture: a photograph with the weight of each of its tiles in the answer's features.

For the ``attention`` aggregator these are the learned weights, for ``max`` the shares of the maxima
that the tiles supply. They say where the pooled features come from; whether those features speak
for or against roadwork, and what the global view adds, they do not say.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont

from roadwork.data.views import Box, make_views, tile_boxes
from roadwork.models.classifier import Classifier

__all__ = ["attention_picture", "draw_tile_weights"]

_LONGEST = 960  # pixels of the picture's long edge
_COLOUR = (255, 96, 0)
_STRONGEST = 0.65  # opacity of the colour where the weight is largest


def attention_picture(classifier: Classifier, image: Image.Image) -> bytes:
    """A PNG of an upright RGB photograph with its tiles and their weights.

    Raises:
        ConfigError: the classifier looks at no tiles.
    """
    spec = classifier.spec
    views = make_views(image, spec.image_size, spec.views.tiles)
    network = classifier.network.cpu().eval()
    with torch.inference_mode():
        weights = network.tile_weights(torch.from_numpy(views[None]))[0].double().numpy()
    return draw_tile_weights(image, tile_boxes(*image.size, spec.views.tiles), weights)


def draw_tile_weights(image: Image.Image, boxes: Sequence[Box], weights: ArrayLike) -> bytes:
    """A PNG of a photograph, at most 960 pixels long, with the weights of some boxes.

    The photograph turns grey, and takes on colour where the mean weight of the boxes over a pixel
    is large against the largest such mean; each box's weight stands at its centre in per cent.

    Args:
        image: upright RGB photograph.
        boxes: T boxes in its pixels.
        weights: (T,), 0 or more.

    Raises:
        ValueError: there are not as many weights as boxes, or one is negative or not finite.
    """
    given = np.asarray(weights, dtype=np.float64)
    if given.shape != (len(boxes),) or not np.isfinite(given).all() or (given < 0).any():
        raise ValueError(f"{len(boxes)} boxes need as many weights of 0 or more, not {given}")
    scale = min(1.0, _LONGEST / max(image.size))
    small = image.resize([max(1, round(edge * scale)) for edge in image.size])
    scaled = [tuple(round(edge * scale) for edge in box) for box in boxes]
    grey = np.asarray(small.convert("L"), dtype=np.float64)[:, :, None]
    heat = _mean_weight(small.size, scaled, given)[:, :, None]
    opacity = _STRONGEST * heat / max(float(heat.max()), 1e-12)
    mixed = (1 - opacity) * grey + opacity * np.array(_COLOUR)
    picture = Image.fromarray(np.rint(mixed).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    for box in scaled:
        draw.rectangle((box[0], box[1], box[2] - 1, box[3] - 1), outline=(255, 255, 255))
    font = ImageFont.load_default(max(10, round(min(small.size) / 22)))
    for box, weight in zip(scaled, given, strict=True):
        centre = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        draw.text(
            centre,
            f"{100 * weight:.0f} %",
            fill=(255, 255, 255),
            font=font,
            anchor="mm",
            stroke_width=2,
            stroke_fill=(0, 0, 0),
        )
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def _mean_weight(
    size: tuple[int, int], boxes: Sequence[tuple[int, ...]], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Mean weight of the boxes over each pixel, (H, W); 0 where there is none."""
    total, count = np.zeros(size[::-1]), np.zeros(size[::-1])
    for (left, top, right, bottom), weight in zip(boxes, weights, strict=True):
        total[top:bottom, left:right] += weight
        count[top:bottom, left:right] += 1
    return total / np.maximum(count, 1)
