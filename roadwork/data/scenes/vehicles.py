"""Ordinary traffic: cars, vans, lorries and buses as boxes with one end and one side."""

from __future__ import annotations

from dataclasses import dataclass

from roadwork.data.scenes.canvas import Canvas, Face
from roadwork.data.scenes.conditions import Colour
from roadwork.data.scenes.props import Draw, Prop

__all__ = ["CAR_COLOURS", "ORANGE_PAINT", "VEHICLES", "Body", "draw_body"]

CAR_COLOURS: tuple[Colour, ...] = (
    (226, 228, 230),
    (38, 40, 44),
    (120, 124, 130),
    (172, 176, 180),
    (148, 28, 30),
    (34, 58, 110),
    (70, 84, 92),
    (196, 190, 176),
    (22, 24, 28),
    (96, 36, 40),
    (62, 92, 74),
)
ORANGE_PAINT: tuple[Colour, ...] = ((238, 116, 24), (226, 92, 26), (244, 172, 26), (236, 138, 40))
GLASS: Colour = (46, 54, 62)
TYRE: Colour = (24, 24, 26)


@dataclass(frozen=True)
class Body:
    """A vehicle's shape in metres.

    Attributes:
        width: Width of the body.
        length: Length along the street.
        floor: Underside above the road.
        belt: Height of the body below the windows.
        roof: Height of the roof.
        inset: How much the roof is narrower, each side.
        bonnet: Length of the low parts in front of and behind the cabin.
    """

    width: float
    length: float
    floor: float
    belt: float
    roof: float
    inset: float
    bonnet: float


BODIES: dict[str, Body] = {
    "car": Body(1.78, 4.4, 0.28, 0.92, 1.46, 0.2, 0.75),
    "suv": Body(1.88, 4.6, 0.32, 1.05, 1.75, 0.14, 0.35),
    "van": Body(1.98, 5.4, 0.32, 1.25, 2.3, 0.08, 0.1),
    "lorry": Body(2.45, 8.0, 0.5, 3.3, 3.4, 0.0, 0.0),
    "bus": Body(2.5, 11.0, 0.35, 1.3, 3.1, 0.04, 0.0),
}


def draw_side(canvas: Canvas, body: Body, d: float, z: float, paint: Colour) -> None:
    """Draw the long side that the camera sees, if any."""
    view = canvas.view
    offset = d - view.lateral + 0.5 * view.curvature * z * z
    if abs(offset) < body.width / 2:
        return
    side = -1.0 if offset > 0 else 1.0
    edge = d + side * body.width / 2
    roof_edge = edge - side * body.inset
    near, far = max(z, 1.2), z + body.length
    if far <= near + 0.2:
        return
    tint = canvas.tint(edge, (near * far) ** 0.5)
    sun = canvas.conditions.direct_sun
    shade = 0.84 - 0.22 * sun if canvas.conditions.sun_side != side else 0.92 + 0.1 * sun

    def quad(
        low: float,
        high: float,
        z0: float,
        z1: float,
        colour: Colour,
        lean: float = 0.0,
        top: float | None = None,
    ) -> None:
        upper = edge if top is None else top
        canvas.polygon(
            [
                view.project(edge, low, z0),
                view.project(edge, low, z1),
                view.project(upper, high, z1 - lean),
                view.project(upper, high, z0 + lean),
            ],
            tint(colour, shade),
        )

    quad(body.floor, body.belt, near, far, paint)
    if body.roof - body.belt > 0.2:
        z0, z1 = max(near, z + body.bonnet), far - body.bonnet
        if z1 > z0 + 0.4:
            quad(body.belt, body.roof, z0, z1, paint, 0.25, roof_edge)
            quad(body.belt + 0.04, body.roof - 0.1, z0 + 0.15, z1 - 0.15, GLASS, 0.25, roof_edge)
    for centre in (z + 0.19 * body.length, z + 0.8 * body.length):
        if centre > 1.4:
            first, y = view.project(edge, 0.33, centre - 0.33)
            last, _ = view.project(edge, 0.33, centre + 0.33)
            r = view.scale(centre) * 0.33
            left, right = min(first, last), max(first, last) + 1.0
            canvas.ellipse((left, y - r, right, y + r), tint(TYRE))


def draw_end(face: Face, body: Body, paint: Colour, oncoming: bool) -> None:
    """Draw the rear, or the front of an oncoming vehicle."""
    half = body.width / 2
    face.box(-half + 0.05, 0.0, -half + 0.28, body.floor + 0.1, TYRE)
    face.box(half - 0.28, 0.0, half - 0.05, body.floor + 0.1, TYRE)
    face.box(-half, body.floor, half, body.belt, paint, 0.94)
    top = half - body.inset
    if body.roof - body.belt > 0.2:
        face.polygon(
            (
                (-half + 0.04, body.belt),
                (half - 0.04, body.belt),
                (top, body.roof),
                (-top, body.roof),
            ),
            paint,
            1.0,
        )
        face.polygon(
            (
                (-half + 0.16, body.belt + 0.04),
                (half - 0.16, body.belt + 0.04),
                (top - 0.1, body.roof - 0.12),
                (-top + 0.1, body.roof - 0.12),
            ),
            GLASS,
        )
    face.box(-half, body.floor, half, body.floor + 0.22, (52, 54, 58))
    face.box(-0.26, body.floor + 0.26, 0.26, body.floor + 0.38, (224, 224, 214), retro=0.4)
    night = face.canvas.conditions.time.headlights > 0
    level = min(body.belt, 1.1) - 0.18
    for u in (-half + 0.2, half - 0.2):
        if oncoming:
            if night:
                face.lamp(u, level, 0.13, (255, 250, 228), 0.9)
            else:
                face.disc(u, level, 0.13, 0.09, (228, 232, 236), 1.1)
        elif night:
            face.lamp(u, level, 0.1, (244, 40, 28), 0.35)
        else:
            face.box(u - 0.1, level - 0.08, u + 0.1, level + 0.08, (150, 24, 26))


def draw_body(canvas: Canvas, prop: Prop, z: float, body: Body) -> Face:
    """Draw a whole vehicle and return the plane of its near end."""
    face = canvas.face(prop.d, max(z, 1.0))
    if z + body.length < 1.6:
        return face
    half = body.width / 2
    tail = max(z, 1.0)
    corners = [
        canvas.view.project(prop.d + u, 0.0, depth)
        for u, depth in (
            (-half - 0.15, tail - 0.2),
            (half + 0.15, tail - 0.2),
            (half + 0.15, z + body.length),
            (-half - 0.15, z + body.length),
        )
    ]
    canvas.shadow(corners, 0.5 * face.tint.keep)
    if canvas.conditions.direct_sun > 0.5:
        reach = -canvas.conditions.sun_side * body.roof * canvas.conditions.shadow
        edge = half if reach > 0 else -half
        canvas.shadow(
            [
                canvas.view.project(prop.d + edge, 0, tail),
                canvas.view.project(prop.d + edge + reach, 0, tail + 0.4),
                canvas.view.project(prop.d + edge + reach, 0, z + body.length),
                canvas.view.project(prop.d + edge, 0, z + body.length),
            ],
            0.42 * canvas.conditions.direct_sun * face.tint.keep,
        )
    draw_side(canvas, body, prop.d, z, prop.colour)
    if z > 1.0:
        draw_end(face, body, prop.colour, prop.mirror)
    return face


def draw_vehicle(canvas: Canvas, prop: Prop, z: float) -> None:
    """A car, SUV, van, lorry or bus; ``style`` names the body, ``mirror`` means oncoming."""
    draw_body(canvas, prop, z, BODIES[prop.style])


def draw_cyclist(canvas: Canvas, prop: Prop, z: float) -> None:
    """A cyclist seen from behind; the jacket has the prop's colour."""
    face = canvas.face(prop.d, z)
    face.cast(0.25, 1.6)
    face.box(-0.03, 0.0, 0.03, 0.7, TYRE)
    face.polygon(((-0.14, 0.75), (0.14, 0.75), (0.1, 0.35), (-0.12, 0.4)), (44, 48, 60))
    face.polygon(((-0.2, 0.8), (0.2, 0.8), (0.24, 1.4), (-0.24, 1.4)), prop.colour, retro=0.2)
    face.disc(0, 1.58, 0.13, 0.16, (60, 60, 66))
    face.box(-0.3, 0.98, 0.3, 1.02, (40, 40, 40))


VEHICLES: dict[str, Draw] = {"vehicle": draw_vehicle, "cyclist": draw_cyclist}
