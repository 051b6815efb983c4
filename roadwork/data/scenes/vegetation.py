"""Trees and bushes, from a few foliage sprites that are made once and tinted often."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image

from roadwork.data.scenes.canvas import Canvas, Face
from roadwork.data.scenes.conditions import Colour
from roadwork.data.scenes.props import Draw, Prop
from roadwork.data.scenes.texture import field

__all__ = ["AUTUMN", "GREENS", "VEGETATION"]

GREENS: tuple[Colour, ...] = ((74, 104, 48), (88, 116, 58), (60, 92, 52), (104, 120, 62))
AUTUMN: tuple[Colour, ...] = ((226, 122, 36), (214, 92, 34), (206, 152, 48))
SPRITE = 96
RAMP = np.linspace(0.0, 1.0, 256, dtype=np.float32)[:, None]


@lru_cache(maxsize=8)
def foliage(number: int) -> tuple[Image.Image, Image.Image]:
    """A crown: its light (L) and its cover (L), 96 x 96 pixels each."""
    start = 61 * number
    noise = np.roll(field(21, 2.4), (start, 2 * start), axis=(0, 1))[:SPRITE, :SPRITE]
    leaves = np.roll(field(22, 0.9), (3 * start, start), axis=(0, 1))[:SPRITE, :SPRITE]
    y, x = np.mgrid[-1 : 1 : SPRITE * 1j, -1 : 1 : SPRITE * 1j]
    radius = np.hypot(x * 1.05, y * 1.0)
    solid = (1.0 - radius + 0.16 * noise + 0.07 * leaves) > 0.16
    light = 150 - 46 * y - 24 * x * 0.4 + 24 * noise + 20 * leaves
    cover = Image.fromarray((solid * 255).astype(np.uint8))
    return Image.fromarray(np.clip(light, 20, 255).astype(np.uint8)), cover


def paste_crown(
    canvas: Canvas,
    face: Face,
    colour: Colour,
    centre: tuple[float, float],
    half: tuple[float, float],
    number: int,
) -> None:
    """Draw a crown around a place of the face; ``half`` axes in metres."""
    wide, high = (max(2, round(2 * face.scale * h)) for h in half)
    x, y = face.at(*centre)
    corner = (round(x - wide / 2), round(y - high / 2))
    limit = canvas.image.size
    if corner[0] > limit[0] or corner[1] > limit[1] or corner[0] + wide < 0 or corner[1] + high < 0:
        return
    if wide < 9:
        canvas.ellipse((x - wide / 2, y - high / 2, x + wide / 2, y + high / 2), face.tint(colour))
        return
    light, cover = foliage(number)
    # Crowns larger than the canvas are cut before they are enlarged.
    left, upper = max(0, corner[0]), max(0, corner[1])
    right, lower = min(limit[0], corner[0] + wide), min(limit[1], corner[1] + high)
    if right <= left or lower <= upper:
        return
    part = (
        (left - corner[0]) * SPRITE / wide,
        (upper - corner[1]) * SPRITE / high,
        (right - corner[0]) * SPRITE / wide,
        (lower - corner[1]) * SPRITE / high,
    )
    size = (right - left, lower - upper)
    grey = light.resize(size, Image.Resampling.BILINEAR, box=part)
    mask = cover.resize(size, Image.Resampling.NEAREST, box=part)
    dark, bright = face.tint(colour, 0.28), face.tint(colour, 1.55)
    low, high_end = np.asarray(dark, dtype=np.float32), np.asarray(bright, dtype=np.float32)
    grey.putpalette((low + RAMP * (high_end - low)).astype(np.uint8).tobytes())
    canvas.sprite(grey.convert("RGB"), mask, (left, upper))


def draw_tree(canvas: Canvas, prop: Prop, z: float) -> None:
    """A trunk and a crown of 2 to 4 m half width."""
    face = canvas.face(prop.d, z)
    size = prop.size
    trunk = 0.14 * size
    face.cast(0.3 * size, 3.0 * size)
    face.polygon(
        ((-trunk, 0), (trunk, 0), (trunk * 0.6, 3.2 * size), (-trunk * 0.6, 3.2 * size)),
        (86, 70, 56),
    )
    if prop.style == "bare":
        for i in range(8):
            root, side = (1.5 + 0.25 * i) * size, -1.0 if i % 2 else 1.0
            lean = side * (0.5 + 0.3 * ((prop.variant >> i) % 4)) * size
            tip = root + (1.4 + 0.25 * ((prop.variant >> (i + 4)) % 4)) * size
            face.line(((0, root), (lean, tip)), 0.09, (92, 80, 70))
            face.line(
                ((lean * 0.6, root + 0.6 * (tip - root)), (lean * 0.3, tip + 0.3)),
                0.05,
                (92, 80, 70),
            )
        face.line(((0, 3.0 * size), (0, 5.2 * size)), 0.1, (92, 80, 70))
        return
    paste_crown(
        canvas, face, prop.colour, (0.0, 4.3 * size), (2.0 * size, 2.1 * size), prop.variant % 6
    )


def draw_bush(canvas: Canvas, prop: Prop, z: float) -> None:
    """A bush of about 1 m."""
    face = canvas.face(prop.d, z)
    paste_crown(
        canvas,
        face,
        prop.colour,
        (0.0, 0.6 * prop.size),
        (1.1 * prop.size, 0.75 * prop.size),
        prop.variant % 6,
    )


VEGETATION: dict[str, Draw] = {"tree": draw_tree, "bush": draw_bush}
