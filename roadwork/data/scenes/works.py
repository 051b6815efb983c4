"""Channelisers of the works kit: cones, drums, posts, panels, barricades, barriers, fences.

Sizes follow the usual devices: cones 0.45 to 0.9 m, drums 0.95 m, tubular markers 0.95 m, vertical
panels 1.0 m, type III barricades 1.5 m, barriers 0.9 m, fences 1.8 m. ``style`` is the convention:
``us`` and ``br`` orange and white, ``eu`` and ``uk`` red and white.
"""

from __future__ import annotations

from roadwork.data.scenes.camera import Point
from roadwork.data.scenes.canvas import Canvas, Face
from roadwork.data.scenes.conditions import Colour
from roadwork.data.scenes.people import draw_person
from roadwork.data.scenes.props import Draw, Prop, pick

__all__ = ["CHANNELISERS", "ORANGE", "RED", "WHITE", "band", "diagonals"]

ORANGE: Colour = (246, 98, 22)
RED: Colour = (206, 32, 30)
WHITE: Colour = (240, 240, 236)
RUBBER: Colour = (34, 34, 36)


def signal_colour(style: str) -> Colour:
    """The colour that alternates with white in a convention."""
    return RED if style in ("eu", "uk") else ORANGE


def band(
    face: Face, low: tuple[float, float], high: tuple[float, float], colour: Colour, retro: float
) -> None:
    """A horizontal band of a tapering body; each end is (half width, height)."""
    face.polygon(
        ((-low[0], low[1]), (low[0], low[1]), (high[0], high[1]), (-high[0], high[1])),
        colour,
        retro=retro,
    )


def diagonals(
    face: Face,
    box: tuple[float, float, float, float],
    colour: Colour,
    stripe: float,
    falling: bool = False,
) -> None:
    """A retro-reflective board with 45 degree stripes; ``box`` is left, low, right, high."""
    left, low, right, high = box
    face.box(left, low, right, high, WHITE, retro=0.9)
    if face.scale * stripe < 1.5:
        face.box(left, low, right, high, mean(colour, WHITE), retro=0.9)
        return
    rise = high - low
    start = left - rise
    while start < right:
        stripe_edges = [
            (start, low),
            (start + stripe, low),
            (start + stripe + rise, high),
            (start + rise, high),
        ]
        inside = clip(clip(stripe_edges, left, 1.0), right, -1.0)
        if falling:
            inside = [(left + right - u, v) for u, v in inside]
        if len(inside) > 2:
            face.polygon(inside, colour, retro=0.9)
        start += 2 * stripe


def clip(outline: list[Point], limit: float, sign: float) -> list[Point]:
    """Keep the part of a convex outline where ``sign * (u - limit) >= 0``."""
    kept: list[Point] = []
    for i, (u, v) in enumerate(outline):
        before_u, before_v = outline[i - 1]
        here, before = sign * (u - limit), sign * (before_u - limit)
        if here * before < 0:
            share = before / (before - here)
            kept.append((limit, before_v + share * (v - before_v)))
        if here >= 0:
            kept.append((u, v))
    return kept


def mean(first: Colour, second: Colour) -> Colour:
    """The colour of stripes that are too fine to see."""
    r, g, b = ((p + q) // 2 for p, q in zip(first, second, strict=True))
    return r, g, b


def draw_cone(canvas: Canvas, prop: Prop, z: float) -> None:
    """A cone with one or two white collars on a square base."""
    face = canvas.face(prop.d, z)
    h = 0.75 * prop.size
    base, tip = 0.2 * prop.size, 0.035 * prop.size
    colour = RED if prop.style == "uk" else ORANGE
    face.cast(base, h)
    face.box(-base * 1.25, 0, base * 1.25, 0.07 * h, RUBBER if prop.variant % 2 else colour, 0.9)

    def at(share: float) -> tuple[float, float]:
        return base + (tip - base) * share, h * share

    face.polygon(((-base, 0.05 * h), (base, 0.05 * h), (tip, h), (-tip, h)), colour, retro=0.15)
    face.polygon(((0.3 * base, 0.05 * h), (base, 0.05 * h), (tip, h), (0.3 * tip, h)), colour, 0.82)
    band(face, at(0.55), at(0.8), WHITE, 0.9)
    if prop.variant % 3:
        band(face, at(0.25), at(0.4), WHITE, 0.9)


def draw_drum(canvas: Canvas, prop: Prop, z: float) -> None:
    """A drum with alternating bands on a rubber ring."""
    face = canvas.face(prop.d, z)
    colour = signal_colour(prop.style)
    face.cast(0.32, 1.0)
    face.box(-0.38, 0, 0.38, 0.09, RUBBER)
    edges = (0.08, 0.26, 0.42, 0.58, 0.74, 0.98)
    for i in range(5):
        low, high = edges[i], edges[i + 1]
        wide = 0.31 - 0.05 * low
        band(face, (wide, low), (wide - 0.01, high), colour if i % 2 == 0 else WHITE, 0.8)
    face.polygon(((0.12, 0.08), (0.31, 0.08), (0.26, 0.98), (0.1, 0.98)), colour, 0.78)
    for i in (1, 3):
        face.polygon(
            ((0.12, edges[i]), (0.29, edges[i]), (0.28, edges[i + 1]), (0.11, edges[i + 1])),
            WHITE,
            0.8,
            retro=0.8,
        )
    if prop.variant % 4 == 0:
        face.lamp(0.0, 1.1, 0.1, (255, 178, 30), 0.5)


def draw_tubular_marker(canvas: Canvas, prop: Prop, z: float) -> None:
    """A flexible post with two white collars."""
    face = canvas.face(prop.d, z)
    colour = signal_colour(prop.style)
    face.cast(0.08, 0.95)
    face.box(-0.17, 0, 0.17, 0.06, RUBBER)
    face.box(-0.055, 0.05, 0.055, 0.98, colour, retro=0.2)
    face.box(-0.055, 0.55, 0.055, 0.68, WHITE, retro=0.9)
    face.box(-0.055, 0.75, 0.055, 0.88, WHITE, retro=0.9)


def draw_vertical_panel(canvas: Canvas, prop: Prop, z: float) -> None:
    """An upright striped board on a foot, with a warning lamp on some."""
    face = canvas.face(prop.d, z)
    face.cast(0.2, 1.0)
    face.box(-0.25, 0, 0.25, 0.08, RUBBER)
    face.box(-0.03, 0.05, 0.03, 0.3, (110, 112, 114))
    diagonals(face, (-0.15, 0.22, 0.15, 1.12), signal_colour(prop.style), 0.16, prop.mirror)
    if prop.variant % 3 == 0:
        face.lamp(0.0, 1.23, 0.09, (255, 190, 40), 0.5)


def draw_barricade(canvas: Canvas, prop: Prop, z: float) -> None:
    """A barricade with three striped rails on two legs."""
    face = canvas.face(prop.d, z)
    half = 1.2 * prop.size
    face.cast(half, 1.4)
    for u in (-half * 0.8, half * 0.8):
        face.box(u - 0.04, 0, u + 0.04, 1.55, (206, 208, 206))
        face.polygon(
            ((u - 0.3, 0), (u + 0.3, 0), (u + 0.06, 0.12), (u - 0.06, 0.12)), (120, 120, 118)
        )
    for low in (0.35, 0.8, 1.25):
        diagonals(
            face, (-half, low, half, low + 0.26), signal_colour(prop.style), 0.17, prop.mirror
        )


def draw_barrier(canvas: Canvas, prop: Prop, z: float) -> None:
    """Water-filled blocks, alternately coloured and white, along ``reach`` metres."""
    view = canvas.view
    blocks = max(2, int(prop.reach / 1.5))
    colour = signal_colour(prop.style)
    for i in reversed(range(blocks)):
        near, far = z + 1.5 * i, z + 1.5 * i + 1.42
        if near < 1.3:
            continue
        paint = colour if (i + prop.variant) % 2 else WHITE
        side = -0.22 if prop.d > view.lateral else 0.22
        tint = canvas.tint(prop.d, near)
        canvas.polygon(
            [
                view.project(prop.d + side, 0, near),
                view.project(prop.d + side, 0, far),
                view.project(prop.d + side * 0.4, 0.95, far),
                view.project(prop.d + side * 0.4, 0.95, near),
            ],
            tint(paint, 0.85),
        )
        face = canvas.face(prop.d, near)
        if i == 0:
            face.cast(0.3, 0.9)
        face.polygon(
            (
                (-0.24, 0),
                (0.24, 0),
                (0.2, 0.3),
                (0.1, 0.45),
                (0.1, 0.95),
                (-0.1, 0.95),
                (-0.1, 0.45),
                (-0.2, 0.3),
            ),
            paint,
            retro=0.2,
        )


def draw_pedestrian_barrier(canvas: Canvas, prop: Prop, z: float) -> None:
    """A plastic board barrier across the view: striped top rail over an open frame."""
    face = canvas.face(prop.d, z)
    colour = signal_colour(prop.style)
    count = max(1, round(prop.reach / 2.0))
    for i in range(count):
        left = (i - count / 2) * 2.0
        face.box(left, 0.0, left + 0.12, 1.0, colour)
        face.box(left + 1.8, 0.0, left + 1.92, 1.0, colour)
        face.box(left + 0.05, 0.18, left + 1.85, 0.32, colour, 0.9)
        diagonals(face, (left, 0.72, left + 1.92, 1.0), colour, 0.24, prop.mirror)
        for u in (0.5, 0.95, 1.4):
            face.box(left + u, 0.3, left + u + 0.07, 0.74, colour, 0.85)


def draw_fence(canvas: Canvas, prop: Prop, z: float) -> None:
    """Orange netting or a steel mesh on feet, along ``reach`` metres of the street."""
    view = canvas.view
    near, far = max(z, 1.4), z + prop.reach
    if far <= near + 0.5:
        return
    netting = prop.variant % 2 == 0
    height = 1.15 if netting else 1.9
    tint = canvas.tint(prop.d, (near * far) ** 0.5)
    colour = ORANGE if netting else (150, 154, 156)
    posts = max(2, int((far - near) / (2.0 if netting else 3.0)))
    depths = [near + (far - near) * i / posts for i in range(posts + 1)]
    for row in range(7 if netting else 9):
        v = height * (row + 0.5) / (7 if netting else 9)
        width = view.scale((near * far) ** 0.5) * (0.09 if netting else 0.02)
        canvas.line(
            [view.project(prop.d, v, near), view.project(prop.d, v, far)], tint(colour), width
        )
    for depth in depths:
        face = canvas.face(prop.d, depth)
        face.box(-0.04, 0, 0.04, height, (90, 84, 72) if netting else (130, 134, 136))
        if not netting:
            face.box(-0.3, 0, 0.3, 0.12, (170, 166, 158))


def draw_worker(canvas: Canvas, prop: Prop, z: float) -> None:
    """A worker in hi-vis, with helmet and sometimes a shovel."""
    vest = pick(((206, 232, 40), (248, 112, 24), (206, 232, 40)), prop.variant)
    draw_person(canvas.face(prop.d, z, mirror=prop.mirror), prop.variant, vest, "worker")


CHANNELISERS: dict[str, Draw] = {
    "cone": draw_cone,
    "drum": draw_drum,
    "tubular marker": draw_tubular_marker,
    "vertical panel": draw_vertical_panel,
    "barricade": draw_barricade,
    "barrier": draw_barrier,
    "pedestrian barrier": draw_pedestrian_barrier,
    "fence": draw_fence,
    "worker": draw_worker,
}
