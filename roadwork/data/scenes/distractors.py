"""Look-alikes: things in the colours of works that are no works, placed like works."""

from __future__ import annotations

import numpy as np

from roadwork.data.scenes.conditions import Colour
from roadwork.data.scenes.props import Prop
from roadwork.data.scenes.street import Street
from roadwork.data.scenes.vegetation import AUTUMN
from roadwork.data.scenes.vehicles import ORANGE_PAINT

__all__ = ["sample_distractors"]

SIGNAL: tuple[Colour, ...] = (
    (246, 98, 22),
    (206, 32, 30),
    (246, 190, 30),
    (206, 232, 40),
    (238, 116, 24),
    (240, 240, 236),
)
KINDS: tuple[tuple[str, float], ...] = (
    ("orange vehicle", 0.13),
    ("bin", 0.1),
    ("pedestrian", 0.16),
    ("billboard", 0.1),
    ("bollards", 0.08),
    ("hydrant", 0.06),
    ("letter box", 0.06),
    ("parasol", 0.05),
    ("cyclist", 0.05),
    ("bush", 0.05),
    ("lone cone", 0.04),
    ("traffic sign", 0.05),
)


def sample_distractors(
    rng: np.random.Generator, street: Street, start: float, reach: float, count: int
) -> list[Prop]:
    """Draw look-alikes over a stretch of the street.

    Args:
        rng: Source of randomness.
        street: The street that they stand in.
        start: Where the stretch begins in metres.
        reach: Its length in metres.
        count: How many to draw.

    Returns:
        The look-alikes, in random order; the first n of a longer draw equal a draw of n.
    """
    names = [name for name, _ in KINDS]
    weights = np.asarray([weight for _, weight in KINDS])
    weights = weights / weights.sum()
    props: list[Prop] = []
    for _ in range(count):
        kind = names[int(rng.choice(len(names), p=weights))]
        s = start + float(rng.uniform(0, reach))
        sign = street.side if street.oncoming == 0 or rng.random() < 0.65 else -street.side
        edge = street.near_edge if sign == street.side else street.far_edge
        beside = edge + sign * float(rng.uniform(0.4, max(0.8, street.pavement)))
        colour = SIGNAL[int(rng.integers(len(SIGNAL)))]
        variant = int(rng.integers(2**16))
        style = ""
        if kind == "orange vehicle":
            kind, style = (
                "vehicle",
                str(rng.choice(["car", "suv", "van", "lorry"], p=[0.45, 0.25, 0.22, 0.08])),
            )
            colour = ORANGE_PAINT[variant % len(ORANGE_PAINT)]
            beside = edge - sign * (1.1 if street.parking else -1.4)
        elif kind == "lone cone":
            kind, style = "cone", street.kit
        elif kind == "bollards":
            style = "red" if variant % 2 else "grey"
        elif kind == "traffic sign":
            style = ("diamond", "stop", "triangle", "speed")[variant % 4]
        elif kind == "cyclist":
            beside = edge - sign * 0.8
        elif kind == "bush":
            colour = AUTUMN[variant % len(AUTUMN)]
        props.append(
            Prop(
                kind,
                beside,
                s,
                size=1.0,
                colour=colour,
                style=style,
                variant=variant,
                mirror=bool(variant & 4) and kind != "vehicle",
                reach=4.0,
            )
        )
    return props
