"""Supersampled drawing surface that remembers which pixels show works.

Things are painted from far to near. Every works object carries an instance number that is painted
into a second, single-channel picture at the final size; whatever is painted later over it erases
the number again. What is left is therefore the visible part of every object, occlusion included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from roadwork.data.scenes.camera import SUPERSAMPLE, Point, View
from roadwork.data.scenes.conditions import Colour, Conditions, Tint

__all__ = ["SHADOW_OF_WORKS", "Canvas", "Face", "Glow"]

SHADOW_OF_WORKS = 255


@dataclass(frozen=True)
class Glow:
    """A lamp's halo: centre and radius in pixels of the final image, colour, peak strength."""

    x: float
    y: float
    radius: float
    colour: Colour
    strength: float


class Canvas:
    """A picture in the making.

    Args:
        background: Sky and ground at the final size (RGB).
        view: The camera.
        conditions: Light and veil.
        travelled: Position of the camera along the street in metres.
    """

    def __init__(
        self, background: Image.Image, view: View, conditions: Conditions, travelled: float
    ) -> None:
        width, height = view.size
        self.view = view
        self.conditions = conditions
        self.travelled = travelled
        self.image = background.resize(
            (width * SUPERSAMPLE, height * SUPERSAMPLE), Image.Resampling.NEAREST
        )
        self.pen = ImageDraw.Draw(self.image)
        self.wash = ImageDraw.Draw(self.image, "RGBA")
        self.instances = Image.new("L", view.size, 0)
        self.instance_pen = ImageDraw.Draw(self.instances)
        self.instance = 0
        self.works_begun = False
        self.glows: list[Glow] = []

    def begin(self, instance: int) -> None:
        """Say whose pixels come next: 1 to 254 for a works object, 0 for anything else."""
        self.instance = instance
        self.works_begun = self.works_begun or instance > 0

    def tint(self, d: float, z: float) -> Tint:
        """Light at a place of the street."""
        x = d - self.view.lateral + 0.5 * self.view.curvature * z * z
        return self.conditions.tint(x, z, z + self.travelled)

    def polygon(self, points: Sequence[Point], colour: Colour) -> None:
        """Fill a polygon given in canvas pixels."""
        self.pen.polygon(points, fill=colour)
        if self.works_begun:
            half = [(x / SUPERSAMPLE, y / SUPERSAMPLE) for x, y in points]
            self.instance_pen.polygon(half, fill=self.instance)

    def ellipse(self, box: tuple[float, float, float, float], colour: Colour) -> None:
        """Fill an ellipse given by its bounding box in canvas pixels."""
        self.pen.ellipse(box, fill=colour)
        if self.works_begun:
            self.instance_pen.ellipse([edge / SUPERSAMPLE for edge in box], fill=self.instance)

    def line(self, points: Sequence[Point], colour: Colour, width: float) -> None:
        """Draw a line; ``width`` in canvas pixels, at least one."""
        self.pen.line(points, fill=colour, width=max(1, round(width)))
        if self.works_begun:
            half = [(x / SUPERSAMPLE, y / SUPERSAMPLE) for x, y in points]
            self.instance_pen.line(half, fill=self.instance, width=max(1, round(width / 2)))

    def shadow(self, points: Sequence[Point], strength: float) -> None:
        """Darken a polygon of the ground; ``strength`` 0 to 1."""
        self.wash.polygon(points, fill=(8, 10, 18, int(255 * strength)))
        if self.instance:
            half = [(x / SUPERSAMPLE, y / SUPERSAMPLE) for x, y in points]
            self.instance_pen.polygon(half, fill=SHADOW_OF_WORKS)

    def sprite(self, picture: Image.Image, cover: Image.Image, corner: tuple[int, int]) -> None:
        """Paste a picture through its cover; ``corner`` is the upper left in canvas pixels."""
        self.image.paste(picture, corner, cover)
        if self.works_begun:
            small = cover.resize(
                (max(1, cover.width // SUPERSAMPLE), max(1, cover.height // SUPERSAMPLE)),
                Image.Resampling.NEAREST,
            )
            at = (corner[0] // SUPERSAMPLE, corner[1] // SUPERSAMPLE)
            self.instances.paste(
                self.instance, (*at, at[0] + small.width, at[1] + small.height), small
            )

    def ground(
        self, left: float, right: float, near: float, far: float, colour: Colour, retro: float = 0.0
    ) -> None:
        """Fill a strip of the road between two lateral and two forward distances, in metres."""
        near = max(near, 1.0)
        if far <= near:
            return
        steps = 1 if far - near < 6 or not self.view.curvature else 6
        depths = [near * (far / near) ** (i / steps) for i in range(steps + 1)]
        outline = [self.view.project(left, 0.0, z) for z in depths]
        outline += [self.view.project(right, 0.0, z) for z in reversed(depths)]
        middle = (near * far) ** 0.5
        self.polygon(outline, self.tint((left + right) / 2, middle)(colour, retro=retro))

    def face(self, d: float, z: float, y: float = 0.0, mirror: bool = False) -> Face:
        """An upright plane that faces the camera, with its origin on the ground at (d, z)."""
        return Face(self, d, y, z, mirror)

    def halo(
        self, d: float, y: float, z: float, radius: float, colour: Colour, strength: float
    ) -> None:
        """Remember a lamp's halo; ``radius`` in metres, held between 2 and 26 pixels.

        Daylight outshines halos, so there are none in the light.
        """
        if self.conditions.time_name == "Light":
            return
        u, v = self.view.project(d, y, z)
        pixels = self.view.scale(z) * radius / SUPERSAMPLE
        keep = float(np.exp(-self.conditions.weather.fog * z))
        self.glows.append(
            Glow(
                u / SUPERSAMPLE,
                v / SUPERSAMPLE,
                min(26.0, max(2.0, pixels)),
                colour,
                strength * keep,
            )
        )


class Face:
    """An upright drawing plane in metres: ``u`` right of the foot, ``v`` above it."""

    def __init__(self, canvas: Canvas, d: float, y: float, z: float, mirror: bool) -> None:
        self.canvas = canvas
        self.d, self.y, self.z = d, y, z
        self.origin = canvas.view.project(d, y, z)
        self.scale = canvas.view.scale(z)
        self.side = -self.scale if mirror else self.scale
        self.tint = canvas.tint(d, z)

    def at(self, u: float, v: float) -> Point:
        """Canvas pixel of a place of the plane."""
        return self.origin[0] + self.side * u, self.origin[1] - self.scale * v

    def polygon(
        self, points: Sequence[Point], colour: Colour, shade: float = 1.0, retro: float = 0.0
    ) -> None:
        """Fill a polygon given in metres."""
        x0, y0 = self.origin
        outline = [(x0 + self.side * u, y0 - self.scale * v) for u, v in points]
        self.canvas.polygon(outline, self.tint(colour, shade, retro))

    def box(
        self,
        left: float,
        low: float,
        right: float,
        high: float,
        colour: Colour,
        shade: float = 1.0,
        retro: float = 0.0,
    ) -> None:
        """Fill an axis-parallel rectangle."""
        self.polygon(((left, low), (right, low), (right, high), (left, high)), colour, shade, retro)

    def disc(
        self, u: float, v: float, across: float, along: float, colour: Colour, shade: float = 1.0
    ) -> None:
        """Fill an ellipse with half axes ``across`` and ``along``."""
        x, y = self.at(u, v)
        a, b = self.scale * across, self.scale * along
        self.canvas.ellipse((x - a, y - b, x + a, y + b), self.tint(colour, shade))

    def lamp(self, u: float, v: float, radius: float, colour: Colour, halo: float = 0.0) -> None:
        """A lamp that shines by itself, with an optional halo strength."""
        x, y = self.at(u, v)
        r = max(1.0, self.scale * radius)
        self.canvas.ellipse((x - r, y - r, x + r, y + r), self.tint.glow(colour))
        if halo:
            side = -1.0 if self.side < 0 else 1.0
            self.canvas.halo(self.d + side * u, self.y + v, self.z, 6 * radius, colour, halo)

    def line(
        self, points: Sequence[Point], width: float, colour: Colour, shade: float = 1.0
    ) -> None:
        """Draw a line; ``width`` in metres."""
        self.canvas.line(
            [self.at(u, v) for u, v in points], self.tint(colour, shade), self.scale * width
        )

    def cast(self, half_width: float, height: float) -> None:
        """Contact shadow, and a cast shadow where the sun shines, for a thing on the ground."""
        conditions = self.canvas.conditions
        x, y = self.origin
        a = self.scale * half_width * 1.1
        b = max(1.0, self.scale * half_width * self.canvas.view.height / self.z)
        day = 0.25 if conditions.time_name == "Dark" else 0.38
        self.canvas.shadow(
            [
                (x - a, y),
                (x - a / 2, y - b),
                (x + a / 2, y - b),
                (x + a, y),
                (x + a / 2, y + b),
                (x - a / 2, y + b),
            ],
            day * self.tint.keep,
        )
        if conditions.direct_sun > 0.5:
            reach = -conditions.sun_side * height * conditions.shadow
            tip = self.canvas.view.project(self.d + reach, 0.0, self.z + 0.25 * height)
            wide = self.scale * half_width * 0.7
            self.canvas.shadow(
                [
                    (x - wide, y),
                    (x + wide, y),
                    (tip[0] + wide / 2, tip[1]),
                    (tip[0] - wide / 2, tip[1]),
                ],
                0.42 * conditions.direct_sun * self.tint.keep,
            )
