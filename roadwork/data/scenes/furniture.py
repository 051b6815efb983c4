"""What always stands in a street, and the look-alikes that share colours with works.

Look-alikes ("distractors") carry the oranges, reds, yellows and stripes of works on things that
say nothing about works: permanent barriers, bins, awnings, bollards, autumn trees, hi-vis cyclists.
"""

from __future__ import annotations

from roadwork.data.scenes.canvas import Canvas
from roadwork.data.scenes.conditions import Colour
from roadwork.data.scenes.people import draw_person
from roadwork.data.scenes.props import Draw, Prop, pick

__all__ = ["FURNITURE"]

STEEL: Colour = (128, 132, 136)
WHITE: Colour = (232, 232, 228)
RED: Colour = (196, 34, 34)
YELLOW: Colour = (240, 188, 28)
BLACK: Colour = (26, 26, 28)


def draw_lamp(canvas: Canvas, prop: Prop, z: float) -> None:
    """A street lamp of 8 m with an arm over the road; lit at dusk and at night."""
    face = canvas.face(prop.d, z, mirror=prop.mirror)
    face.box(-0.08, 0, 0.08, 8.0, (96, 98, 102))
    face.line(((0, 7.9), (1.8, 8.2)), 0.1, (96, 98, 102))
    face.box(1.4, 8.1, 2.2, 8.3, (84, 86, 90))
    if canvas.conditions.time.lamps > 0:
        face.lamp(1.8, 8.1, 0.22, (255, 214, 150), 0.8 * canvas.conditions.time.lamps)


def draw_wire_pole(canvas: Canvas, prop: Prop, z: float) -> None:
    """A wooden pole with a cross-arm."""
    face = canvas.face(prop.d, z)
    face.box(-0.13, 0, 0.13, 9.0, (92, 76, 62))
    face.box(-1.1, 8.1, 1.1, 8.25, (84, 70, 58))


def draw_signal(canvas: Canvas, prop: Prop, z: float) -> None:
    """A traffic signal on a mast at the side."""
    face = canvas.face(prop.d, z, mirror=prop.mirror)
    face.box(-0.07, 0, 0.07, 3.6, (70, 74, 76))
    face.box(-0.2, 2.6, 0.2, 3.7, (32, 34, 34))
    lit = prop.variant % 3
    for i, colour in enumerate(((60, 220, 120), (250, 180, 40), (250, 50, 40))):
        if i == lit:
            face.lamp(0, 2.8 + 0.35 * i, 0.12, colour, 0.3)
        else:
            face.disc(0, 2.8 + 0.35 * i, 0.12, 0.12, (48, 48, 46))


def draw_traffic_sign(canvas: Canvas, prop: Prop, z: float) -> None:
    """A permanent sign; ``style``: speed, stop, diamond, info, triangle."""
    face = canvas.face(prop.d, z)
    face.box(-0.04, 0, 0.04, 2.2, STEEL)
    v = 2.4
    if prop.style == "speed":
        face.disc(0, v, 0.38, 0.38, RED)
        face.disc(0, v, 0.29, 0.29, WHITE)
        face.box(-0.14, v - 0.1, 0.14, v + 0.1, BLACK)
    elif prop.style == "stop":
        face.polygon(
            [
                (0.42 * a, v + 0.42 * b)
                for a, b in (
                    (-0.4, -1),
                    (0.4, -1),
                    (1, -0.4),
                    (1, 0.4),
                    (0.4, 1),
                    (-0.4, 1),
                    (-1, 0.4),
                    (-1, -0.4),
                )
            ],
            RED,
            retro=0.5,
        )
        face.box(-0.28, v - 0.08, 0.28, v + 0.08, WHITE)
    elif prop.style == "diamond":
        face.polygon(((0, v - 0.55), (0.55, v), (0, v + 0.55), (-0.55, v)), BLACK)
        face.polygon(((0, v - 0.5), (0.5, v), (0, v + 0.5), (-0.5, v)), YELLOW, retro=0.5)
        face.box(-0.07, v - 0.25, 0.07, v + 0.2, BLACK)
    elif prop.style == "triangle":
        face.polygon(((-0.5, v - 0.35), (0.5, v - 0.35), (0, v + 0.5)), RED, retro=0.5)
        face.polygon(((-0.34, v - 0.26), (0.34, v - 0.26), (0, v + 0.3)), WHITE, retro=0.5)
        face.box(-0.05, v - 0.2, 0.05, v + 0.12, BLACK)
    else:
        face.box(-0.8, v - 0.4, 0.8, v + 0.5, pick(((30, 96, 62), (32, 74, 140)), prop.variant))
        face.box(-0.6, v - 0.1, 0.6, v, WHITE)
        face.box(-0.6, v + 0.15, 0.3, v + 0.25, WHITE)


def draw_bin(canvas: Canvas, prop: Prop, z: float) -> None:
    """A wheelie bin or litter bin in the prop's colour."""
    face = canvas.face(prop.d, z)
    face.cast(0.3, 1.0)
    face.polygon(((-0.26, 0), (0.26, 0), (0.32, 0.95), (-0.32, 0.95)), prop.colour)
    face.box(-0.34, 0.95, 0.34, 1.06, prop.colour, 0.75)


def draw_hydrant(canvas: Canvas, prop: Prop, z: float) -> None:
    """A fire hydrant."""
    face = canvas.face(prop.d, z)
    face.cast(0.15, 0.6)
    colour = pick((RED, YELLOW, (230, 130, 30)), prop.variant)
    face.box(-0.12, 0, 0.12, 0.55, colour)
    face.box(-0.2, 0.32, 0.2, 0.42, colour, 0.85)
    face.disc(0, 0.58, 0.13, 0.12, colour, 1.1)


def draw_bollards(canvas: Canvas, prop: Prop, z: float) -> None:
    """A row of permanent posts along the kerb: grey, or red and white."""
    for i in reversed(range(4)):
        depth = z + 1.6 * i
        if depth < 1.5:
            continue
        face = canvas.face(prop.d, depth)
        face.cast(0.07, 0.9)
        body = WHITE if prop.style == "red" else (84, 86, 90)
        face.box(-0.06, 0, 0.06, 0.95, body)
        if prop.style == "red":
            face.box(-0.06, 0.3, 0.06, 0.5, RED)
            face.box(-0.06, 0.7, 0.06, 0.9, RED)


def draw_guard_rail(canvas: Canvas, prop: Prop, z: float) -> None:
    """A steel guard rail along ``reach`` metres."""
    near, far = max(z, 1.2), min(z + prop.reach, 130.0)
    if far <= near:
        return
    view = canvas.view
    tint = canvas.tint(prop.d, (near * far) ** 0.5)
    depth = near
    while depth < far:
        x0, y0 = view.project(prop.d - 0.05, 0.0, depth)
        x1, y1 = view.project(prop.d + 0.05, 0.75, depth)
        canvas.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], tint((110, 112, 114)))
        depth += 2.5 if depth < 30 else 12.0
    for low, high, shade in ((0.45, 0.6, 0.85), (0.6, 0.78, 1.1)):
        steps = [near * (far / near) ** (i / 5) for i in range(6)]
        outline = [view.project(prop.d, low, t) for t in steps]
        outline += [view.project(prop.d, high, t) for t in reversed(steps)]
        canvas.polygon(outline, tint((168, 172, 176), shade))


def draw_median(canvas: Canvas, prop: Prop, z: float) -> None:
    """A permanent concrete wall of 0.85 m along ``reach`` metres."""
    near, far = max(z, 1.2), min(z + prop.reach, 150.0)
    if far <= near:
        return
    view = canvas.view
    tint = canvas.tint(prop.d, (near * far) ** 0.5)
    steps = [near * (far / near) ** (i / 6) for i in range(7)]
    for low, high, shade in ((0.0, 0.3, 0.82), (0.3, 0.85, 1.0)):
        outline = [view.project(prop.d, low, t) for t in steps]
        outline += [view.project(prop.d, high, t) for t in reversed(steps)]
        canvas.polygon(outline, tint((168, 164, 156), shade))
    if z > 1.2:
        face = canvas.face(prop.d, z)
        face.polygon(((-0.3, 0), (0.3, 0), (0.12, 0.85), (-0.12, 0.85)), (160, 156, 148))


def draw_pedestrian(canvas: Canvas, prop: Prop, z: float) -> None:
    """Somebody on the pavement in an ordinary jacket of the prop's colour."""
    draw_person(canvas.face(prop.d, z, mirror=prop.mirror), prop.variant, prop.colour, "passer-by")


def draw_billboard(canvas: Canvas, prop: Prop, z: float) -> None:
    """An advertisement in a warm colour on a stand."""
    face = canvas.face(prop.d, z)
    face.cast(0.7, 2.0)
    face.box(-0.75, 0.3, 0.75, 2.3, (60, 62, 66))
    face.box(-0.66, 0.4, 0.66, 2.2, prop.colour)
    face.disc(0.0, 1.5, 0.35, 0.35, pick((WHITE, YELLOW, (40, 60, 110)), prop.variant))
    face.box(-0.5, 0.6, 0.5, 0.8, WHITE)


def draw_parasol(canvas: Canvas, prop: Prop, z: float) -> None:
    """A café parasol with two-coloured panels."""
    face = canvas.face(prop.d, z)
    face.cast(0.8, 1.5)
    face.box(-0.03, 0, 0.03, 2.2, (180, 176, 168))
    panels = 6
    for i in range(panels):
        left, right = -1.2 + 2.4 * i / panels, -1.2 + 2.4 * (i + 1) / panels
        face.polygon(
            ((left, 1.95), (right, 1.95), (right * 0.1, 2.5), (left * 0.1, 2.5)),
            prop.colour if i % 2 else WHITE,
        )
    face.box(-0.6, 0.7, 0.6, 0.76, (120, 92, 66))


def draw_parcel_box(canvas: Canvas, prop: Prop, z: float) -> None:
    """A letter box or a parking meter in a signal colour."""
    face = canvas.face(prop.d, z)
    face.cast(0.22, 1.2)
    face.box(-0.04, 0, 0.04, 0.7, STEEL)
    face.box(-0.26, 0.6, 0.26, 1.25, prop.colour)
    face.box(-0.18, 1.0, 0.18, 1.06, BLACK)


FURNITURE: dict[str, Draw] = {
    "lamp": draw_lamp,
    "wire pole": draw_wire_pole,
    "signal": draw_signal,
    "traffic sign": draw_traffic_sign,
    "bin": draw_bin,
    "hydrant": draw_hydrant,
    "bollards": draw_bollards,
    "guard rail": draw_guard_rail,
    "median": draw_median,
    "pedestrian": draw_pedestrian,
    "billboard": draw_billboard,
    "parasol": draw_parasol,
    "letter box": draw_parcel_box,
}
