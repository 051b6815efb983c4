"""Signs, boards, vehicles, machines and earthworks of the works kit."""

from __future__ import annotations

from roadwork.data.scenes.canvas import Canvas
from roadwork.data.scenes.conditions import Colour
from roadwork.data.scenes.props import Draw, Prop, pick
from roadwork.data.scenes.vehicles import Body, draw_body
from roadwork.data.scenes.works import ORANGE, RED, WHITE, diagonals

__all__ = ["PLANT"]

BLACK: Colour = (22, 22, 24)
AMBER: Colour = (255, 184, 40)
YELLOW: Colour = (246, 190, 30)
STEEL: Colour = (120, 122, 124)
TRUCK = Body(2.4, 6.5, 0.55, 1.5, 1.6, 0.0, 0.0)
ARROW: tuple[tuple[float, float], ...] = (
    (-0.75, 0.0),
    (-0.5, 0.0),
    (-0.25, 0.0),
    (0.0, 0.0),
    (0.25, 0.0),
    (0.5, 0.0),
    (0.75, 0.0),
    (-0.55, 0.22),
    (-0.35, 0.42),
    (-0.55, -0.22),
    (-0.35, -0.42),
)


def draw_sign(canvas: Canvas, prop: Prop, z: float) -> None:
    """A temporary sign: US orange diamond, EU red triangle, UK triangle with a red plate."""
    face = canvas.face(prop.d, z)
    face.cast(0.4, 1.6)
    if prop.style in ("us", "br"):
        face.line(((-0.45, 0), (0, 0.7)), 0.05, STEEL)
        face.line(((0.45, 0), (0, 0.7)), 0.05, STEEL)
        face.box(-0.03, 0.1, 0.03, 0.8, STEEL)
        v, r = 1.35, 0.78
        face.polygon(((0, v - r), (r, v), (0, v + r), (-r, v)), BLACK)
        r = 0.73
        face.polygon(((0, v - r), (r, v), (0, v + r), (-r, v)), ORANGE, retro=0.9)
        if prop.variant % 2:
            for i, half in enumerate((0.28, 0.42, 0.3)):
                low = v + 0.2 - 0.22 * i
                face.box(-half, low - 0.06, half, low + 0.06, BLACK)
        else:
            face.disc(0.02, v + 0.26, 0.08, 0.08, BLACK)
            face.polygon(
                ((-0.12, v - 0.3), (0.0, v - 0.3), (0.12, v + 0.16), (-0.06, v + 0.16)), BLACK
            )
            face.line(((0.05, v + 0.1), (0.3, v - 0.25)), 0.05, BLACK)
        if prop.variant % 5 == 0:
            for u in (-0.3, 0.3):
                face.box(u - 0.14, v + r * 0.85, u + 0.14, v + r * 0.85 + 0.26, ORANGE)
        return
    face.box(-0.35, 0, 0.35, 0.1, (60, 60, 62))
    face.box(-0.03, 0.1, 0.03, 1.0, STEEL)
    v = 1.25
    face.polygon(((-0.62, v - 0.42), (0.62, v - 0.42), (0, v + 0.66)), RED, retro=0.9)
    fill = YELLOW if prop.variant % 3 == 0 else WHITE
    face.polygon(((-0.44, v - 0.32), (0.44, v - 0.32), (0, v + 0.44)), fill, retro=0.9)
    face.polygon(((0.05, v - 0.28), (0.3, v - 0.28), (0.16, v - 0.08)), BLACK)
    face.disc(-0.05, v + 0.14, 0.06, 0.06, BLACK)
    face.polygon(((-0.2, v - 0.28), (-0.06, v - 0.28), (0.0, v + 0.06), (-0.1, v + 0.06)), BLACK)
    if prop.style == "uk":
        face.box(-0.55, 0.3, 0.55, 0.72, RED, retro=0.9)
        face.box(-0.42, 0.46, 0.42, 0.56, WHITE, retro=0.9)


def draw_arrow_board(canvas: Canvas, prop: Prop, z: float) -> None:
    """A trailer with a board of amber lamps that show an arrow."""
    face = canvas.face(prop.d, z)
    face.cast(1.1, 2.5)
    face.box(-0.9, 0.3, 0.9, 0.7, ORANGE if prop.variant % 2 else (90, 92, 94))
    for u in (-0.8, 0.8):
        face.disc(u, 0.3, 0.16, 0.3, (26, 26, 28))
    face.box(-0.06, 0.6, 0.06, 1.6, STEEL)
    face.box(-1.2, 1.5, 1.2, 2.9, (62, 62, 56))
    face.box(-1.12, 1.56, 1.12, 2.84, BLACK)
    side = -1.0 if prop.mirror else 1.0
    for u, v in ARROW:
        face.lamp(side * u * 1.2, 2.2 + v * 1.1, 0.075, AMBER, 0.12)


def draw_work_truck(canvas: Canvas, prop: Prop, z: float) -> None:
    """A flatbed lorry with chevrons, a beacon bar and material on the bed."""
    paint = pick(((242, 122, 24), (236, 236, 232), YELLOW, (236, 236, 232)), prop.variant)
    cab = canvas.face(prop.d, z + 4.5)
    face = draw_body(canvas, Prop(prop.kind, prop.d, prop.s, colour=paint), z, TRUCK)
    if z <= 1.2:
        return
    cab.box(-1.15, 1.5, 1.15, 2.5, paint, 0.95)
    cab.box(-0.95, 1.75, 0.95, 2.3, (52, 60, 68))
    for u in (-0.7, 0.7):
        cab.lamp(u, 2.62, 0.12, AMBER, 0.6)
    face.polygon(
        ((-1.05, 1.5), (1.05, 1.5), (0.8, 1.95), (-0.5, 2.05), (-0.9, 1.8)),
        pick(((120, 96, 72), (84, 84, 86), (170, 160, 140)), prop.variant, 1),
    )
    diagonals(
        face, (-1.18, 0.72, 1.18, 1.32), RED if prop.style != "us" else ORANGE, 0.28, prop.mirror
    )
    if prop.variant % 2:
        face.box(-0.9, 1.9, 0.9, 2.9, BLACK)
        for u, v in ARROW:
            face.lamp(u, 2.4 + v * 0.8, 0.07, AMBER, 0.1)


def draw_excavator(canvas: Canvas, prop: Prop, z: float) -> None:
    """An excavator seen from its side: tracks, house, boom, stick and bucket."""
    face = canvas.face(prop.d, z, mirror=prop.mirror)
    paint = pick((YELLOW, (240, 132, 30), (246, 178, 22)), prop.variant)
    face.cast(1.6, 2.4)
    face.polygon(
        (
            (-1.5, 0.15),
            (-1.2, 0),
            (1.2, 0),
            (1.5, 0.15),
            (1.5, 0.5),
            (1.2, 0.7),
            (-1.2, 0.7),
            (-1.5, 0.5),
        ),
        (38, 38, 40),
    )
    for u in (-1.1, -0.4, 0.4, 1.1):
        face.disc(u, 0.34, 0.2, 0.2, (84, 84, 86))
    face.box(-1.5, 0.8, 0.9, 1.7, paint)
    face.box(-1.5, 0.8, -0.9, 1.75, (70, 70, 70))
    face.polygon(((0.0, 1.6), (0.95, 1.6), (0.85, 2.7), (0.1, 2.7)), paint, 0.9)
    face.polygon(((0.12, 1.75), (0.82, 1.75), (0.76, 2.55), (0.2, 2.55)), (70, 84, 96))
    lift = 0.25 * (prop.variant % 4)
    face.polygon(((0.7, 1.3), (1.0, 1.2), (2.4, 3.1 + lift), (2.1, 3.3 + lift)), paint)
    face.polygon(((2.1, 3.3 + lift), (2.4, 3.1 + lift), (3.3, 1.5), (3.0, 1.4)), paint, 0.88)
    face.polygon(((2.9, 1.5), (3.4, 1.5), (3.3, 0.8), (2.7, 0.7)), (64, 62, 60))
    face.lamp(0.5, 2.82, 0.1, AMBER, 0.5)


def draw_roller(canvas: Canvas, prop: Prop, z: float) -> None:
    """A road roller from its side: two drums, engine house, canopy."""
    face = canvas.face(prop.d, z, mirror=prop.mirror)
    paint = pick(((244, 150, 28), YELLOW), prop.variant)
    face.cast(1.3, 2.0)
    for u in (-1.1, 1.1):
        face.disc(u, 0.55, 0.55, 0.55, (92, 94, 98))
        face.disc(u, 0.55, 0.2, 0.2, paint)
    face.box(-1.2, 0.75, 1.2, 1.3, paint)
    face.box(-0.1, 1.3, 0.9, 1.6, paint, 0.85)
    for u in (-0.7, 0.6):
        face.box(u, 1.3, u + 0.08, 2.4, (50, 50, 52))
    face.box(-0.9, 2.38, 0.9, 2.52, paint, 1.05)
    face.lamp(0.0, 2.62, 0.1, AMBER, 0.5)


def draw_patch(canvas: Canvas, prop: Prop, z: float) -> None:
    """A trench or fresh asphalt in the road, ``reach`` metres long, ``size`` metres wide."""
    near, far = max(z, 1.2), z + prop.reach
    if far <= near:
        return
    half = prop.size / 2
    if prop.style == "trench":
        canvas.ground(prop.d - half - 0.35, prop.d + half + 0.35, near, far, (142, 118, 88))
        canvas.ground(prop.d - half, prop.d + half, near + 0.2, far - 0.2, (46, 38, 32))
    else:
        canvas.ground(prop.d - half, prop.d + half, near, far, (36, 36, 40))


def draw_heap(canvas: Canvas, prop: Prop, z: float) -> None:
    """A heap of soil, sand or broken asphalt."""
    face = canvas.face(prop.d, z)
    colour = pick(((136, 108, 78), (186, 166, 126), (88, 86, 84)), prop.variant)
    face.cast(1.0, 0.6)
    v = 0.7 * prop.size
    face.polygon(
        (
            (-1.3, 0),
            (1.3, 0),
            (0.8, 0.5 * v),
            (0.3, 0.95 * v),
            (-0.1, v),
            (-0.6, 0.7 * v),
            (-1.0, 0.3 * v),
        ),
        colour,
    )
    face.polygon(((0.2, 0), (1.3, 0), (0.8, 0.5 * v), (0.3, 0.95 * v)), colour, 0.75)


PLANT: dict[str, Draw] = {
    "works sign": draw_sign,
    "arrow board": draw_arrow_board,
    "work truck": draw_work_truck,
    "excavator": draw_excavator,
    "roller": draw_roller,
    "patch": draw_patch,
    "heap": draw_heap,
}
