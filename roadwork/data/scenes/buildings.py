"""Facades along the street: walls in perspective with windows, doors and shop fronts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from roadwork.data.scenes.canvas import Canvas
from roadwork.data.scenes.conditions import Colour, Tint

__all__ = ["Building", "draw_buildings", "sample_row"]

WALLS: tuple[Colour, ...] = (
    (158, 92, 72),
    (176, 158, 136),
    (198, 186, 168),
    (142, 138, 134),
    (122, 78, 64),
    (206, 200, 190),
    (164, 148, 110),
    (108, 112, 118),
    (186, 140, 108),
    (214, 206, 178),
)
AWNINGS: tuple[Colour, ...] = (
    (178, 48, 38),
    (40, 88, 64),
    (228, 122, 34),
    (44, 62, 108),
    (212, 178, 64),
    (90, 90, 92),
)
FLOOR = 3.2


@dataclass(frozen=True)
class Building:
    """One building beside the street.

    Attributes:
        face: Lateral position of the wall along the street in metres (its sign is the side).
        start: Where it begins along the street in metres.
        length: Length along the street in metres.
        floors: Number of floors of 3.2 m.
        wall: Wall colour.
        awning: Colour of the shop front's awning; None without a shop.
        gable: Height of a pitched roof in metres; 0 for a flat roof.
        bay: Window spacing in metres.
        lit: Bits that say which windows are lit at night.
    """

    face: float
    start: float
    length: float
    floors: int
    wall: Colour
    awning: Colour | None
    gable: float
    bay: float
    lit: int


def sample_row(
    rng: np.random.Generator, side: int, face: float, end: float, urban: bool
) -> list[Building]:
    """Fill one side of a street with buildings.

    Args:
        rng: Source of randomness.
        side: -1 for left, 1 for right.
        face: Distance of the walls from the road's centre line in metres.
        end: Where the row ends along the street in metres.
        urban: Closed rows of shops and flats; houses with gardens otherwise.
    """
    row: list[Building] = []
    s = float(rng.uniform(-12, 0))
    while s < end:
        length = float(rng.uniform(9, 24) if urban else rng.uniform(8, 14))
        setback = float(rng.uniform(0, 0.6) if urban else rng.uniform(4, 9))
        shop = urban and rng.random() < 0.55
        row.append(
            Building(
                face=side * (face + setback),
                start=s,
                length=length,
                floors=int(rng.integers(2, 7) if urban else rng.integers(1, 3)),
                wall=WALLS[int(rng.integers(len(WALLS)))],
                awning=AWNINGS[int(rng.integers(len(AWNINGS)))] if shop else None,
                gable=0.0 if urban else float(rng.uniform(1.5, 3.0)),
                bay=float(rng.uniform(2.3, 3.6)),
                lit=int(rng.integers(1, 2**31)),
            )
        )
        gap = rng.uniform(0.0, 0.3) if urban and rng.random() < 0.8 else rng.uniform(4, 14)
        s += length + float(gap)
    return row


def draw_windows(
    canvas: Canvas, building: Building, near: float, far: float, tint: Tint, floor: int
) -> None:
    """Draw one floor's windows between two depths."""
    view, face = canvas.view, building.face
    low, high = floor * FLOOR + 1.0, floor * FLOOR + 2.55
    columns = max(1, int(building.length / building.bay))
    pane = tint((62, 74, 88), 1.0 if floor % 2 else 0.92)
    frame = tint((206, 202, 196), 0.95)
    glowing = canvas.conditions.time.lamps > 0.5
    step = building.length / columns
    origin = building.start - canvas.travelled
    focal, horizon, height = view.focal, view.horizon, view.height
    for column in range(columns):
        z0 = origin + (column + 0.25) * step
        z1 = origin + (column + 0.75) * step
        if z0 < near or z1 > far:
            continue
        u0, _ = view.project(face, 0.0, z0)
        u1, _ = view.project(face, 0.0, z1)
        if abs(u1 - u0) < 1.5:
            continue
        a, b = focal / z0, focal / z1
        points = [
            (u0, horizon + a * (height - low)),
            (u1, horizon + b * (height - low)),
            (u1, horizon + b * (height - high)),
            (u0, horizon + a * (height - high)),
        ]
        lit = glowing and (building.lit >> ((column * 5 + floor * 3) % 31)) & 1
        canvas.polygon(points, tint.glow((226, 186, 112)) if lit else pane)
        if a > 40:
            canvas.line([points[0], points[1]], frame, 2)


def draw_building(canvas: Canvas, building: Building) -> None:
    """Draw the wall along the street and the wall that faces the camera."""
    view, conditions = canvas.view, canvas.conditions
    near = building.start - canvas.travelled
    far = min(near + building.length, 170.0)
    if far < 2.5 or near > 150.0:
        return
    face, top = building.face, building.floors * FLOOR
    shown = max(near, 1.6)
    tint = canvas.tint(face, (shown * far) ** 0.5)
    side = 1 if face > 0 else -1
    sunny = conditions.direct_sun
    along = 1.0 + sunny * (0.14 if conditions.sun_side != side else -0.30)
    front = 1.0 - 0.10 * sunny
    if near > 1.6:
        depth = 10.0
        outer = face + side * depth
        u0, base = view.project(face, 0.0, near)
        u1, _ = view.project(outer, 0.0, near)
        _, roof = view.project(face, top, near)
        canvas.polygon(
            [(u0, base), (u1, base), (u1, roof), (u0, roof)], tint(building.wall, front * 0.9)
        )
        if building.gable:
            _, ridge = view.project(face, top + building.gable, near)
            canvas.polygon(
                [(u0, roof), (u1, roof), ((u0 + u1) / 2, ridge)], tint(building.wall, front * 0.84)
            )
    corners = [
        view.project(face, 0.0, shown),
        view.project(face, 0.0, far),
        view.project(face, top, far),
        view.project(face, top, shown),
    ]
    canvas.polygon(corners, tint(building.wall, along))
    if building.gable:
        ridge = face + side * 5.0
        canvas.polygon(
            [
                corners[3],
                corners[2],
                view.project(ridge, top + building.gable, far),
                view.project(ridge, top + building.gable, shown),
            ],
            tint((98, 72, 64), along),
        )
    else:
        lip = [view.project(face, top - 0.5, shown), view.project(face, top - 0.5, far)]
        canvas.polygon([*lip, corners[2], corners[3]], tint(building.wall, along * 0.8))
    first = 0
    if building.awning is not None:
        first = 1
        draw_shop(canvas, building, shown, far, tint, along)
    if far > 4 and canvas.view.scale(shown) > 14:
        for floor in range(first, building.floors):
            draw_windows(canvas, building, max(shown, 2.2), far, tint, floor)


def draw_shop(
    canvas: Canvas, building: Building, near: float, far: float, tint: Tint, shade: float
) -> None:
    """Draw a shop window and its awning along the ground floor."""
    view, face = canvas.view, building.face
    side = 1 if face > 0 else -1

    def strip(low: float, high: float, out: float) -> list[tuple[float, float]]:
        return [
            view.project(face, low, near),
            view.project(face, low, far),
            view.project(face - side * out, high, far),
            view.project(face - side * out, high, near),
        ]

    lit = canvas.conditions.time.lamps > 0.5 and building.lit & 3
    glass = tint.glow((214, 190, 138)) if lit else tint((54, 62, 70))
    canvas.polygon(strip(0.5, 2.4, 0.0), glass)
    if building.awning is not None:
        awning = [
            view.project(face, 3.1, near),
            view.project(face, 3.1, far),
            view.project(face - side * 1.0, 2.5, far),
            view.project(face - side * 1.0, 2.5, near),
        ]
        canvas.polygon(awning, tint(building.awning, shade))


def draw_buildings(canvas: Canvas, buildings: list[Building]) -> None:
    """Draw all buildings from far to near."""
    for building in sorted(buildings, key=lambda b: -b.start):
        draw_building(canvas, building)
