"""Where works stand: whole work zones, laid out the way a traffic plan lays them out."""

from __future__ import annotations

import numpy as np

from roadwork.data.scenes.props import Prop
from roadwork.data.scenes.street import Street

__all__ = ["LAYOUTS", "sample_zone"]

CHANNELISERS_OF = {
    "us": ("cone", "drum", "tubular marker", "vertical panel"),
    "br": ("cone", "cone", "drum", "tubular marker"),
    "eu": ("vertical panel", "vertical panel", "cone"),
    "uk": ("cone", "cone", "vertical panel"),
}
LAYOUTS = ("lane closure", "kerbside", "road closed", "mobile")
LAYOUT_SHARES = (0.42, 0.32, 0.12, 0.14)


def number(rng: np.random.Generator) -> int:
    """A variant number."""
    return int(rng.integers(2**16))


def channelisers(
    rng: np.random.Generator, street: Street, path: list[tuple[float, float]]
) -> list[Prop]:
    """One kind of channeliser at every place of a path of (d, s)."""
    options = CHANNELISERS_OF[street.kit]
    kind = options[int(rng.integers(len(options)))]
    size = float(rng.uniform(0.85, 1.25))
    missing = float(rng.uniform(0.0, 0.12))
    variant = number(rng)
    return [
        Prop(
            kind,
            d + float(rng.normal(0, 0.08)),
            s,
            size=size,
            style=street.kit,
            variant=variant,
            mirror=street.side < 0,
        )
        for d, s in path
        if rng.random() >= missing
    ]


def taper(
    start: tuple[float, float], end: tuple[float, float], spacing: float
) -> list[tuple[float, float]]:
    """Places from one (d, s) to another, about ``spacing`` metres apart along the street."""
    count = max(2, round(abs(end[1] - start[1]) / spacing) + 1)
    return [
        (
            start[0] + (end[0] - start[0]) * i / (count - 1),
            start[1] + (end[1] - start[1]) * i / (count - 1),
        )
        for i in range(count)
    ]


def crew(
    rng: np.random.Generator, street: Street, d: float, s: float, reach: float, width: float
) -> list[Prop]:
    """Workers, a machine or a lorry, a trench or fresh asphalt, a heap, inside a closed area."""
    props: list[Prop] = []
    if rng.random() < 0.62:
        style = "trench" if rng.random() < 0.6 else "asphalt"
        props.append(
            Prop(
                "patch",
                d,
                s + 2.0,
                size=float(rng.uniform(0.8, max(0.9, width * 0.7))),
                style=style,
                reach=float(rng.uniform(4, max(5.0, reach * 0.7))),
            )
        )
    if rng.random() < 0.5:
        kind = str(rng.choice(["work truck", "excavator", "roller"], p=[0.45, 0.38, 0.17]))
        props.append(
            Prop(
                kind,
                d,
                s + float(rng.uniform(0.3, 0.8)) * reach,
                style=street.kit,
                variant=number(rng),
                mirror=bool(rng.random() < 0.5),
            )
        )
    for _ in range(int(rng.integers(0, 4))):
        props.append(
            Prop(
                "worker",
                d + float(rng.uniform(-0.5, 0.5)) * width,
                s + float(rng.uniform(0.1, 0.9)) * reach,
                variant=number(rng),
                mirror=bool(rng.random() < 0.5),
            )
        )
    if rng.random() < 0.3:
        props.append(
            Prop(
                "heap",
                d + float(rng.uniform(-0.3, 0.3)) * width,
                s + float(rng.uniform(0.2, 0.8)) * reach,
                variant=number(rng),
                size=float(rng.uniform(0.7, 1.3)),
            )
        )
    return props


def lane_closure(rng: np.random.Generator, street: Street, s: float, reach: float) -> list[Prop]:
    """A taper across the outer lane, then a line of channelisers beside the closed lane."""
    outer = street.near_edge - street.side * street.parking
    inner = outer - street.side * (street.lane if street.ahead > 1 else street.lane * 0.6)
    if street.ahead > 1 and abs(inner - street.own_lane) < 0.9:
        inner = street.own_lane + street.side * 1.4
    length = float(rng.uniform(7, 16))
    spacing = float(rng.uniform(1.8, 3.6))
    props = channelisers(rng, street, taper((outer, s), (inner, s + length), spacing))
    props += channelisers(
        rng, street, taper((inner, s + length + spacing), (inner, s + reach), spacing * 1.5)
    )
    middle = (outer + inner) / 2
    props.append(
        Prop(
            "works sign",
            outer + street.side * 0.6,
            s - float(rng.uniform(2, 6)),
            style=street.kit,
            variant=number(rng),
        )
    )
    if rng.random() < 0.4:
        props.append(
            Prop(
                "arrow board",
                middle,
                s + length + 1.0,
                style=street.kit,
                variant=number(rng),
                mirror=street.side > 0,
            )
        )
    elif rng.random() < 0.5:
        props.append(
            Prop(
                "barricade",
                middle,
                s + length + 1.0,
                style=street.kit,
                variant=number(rng),
                size=0.9,
            )
        )
    if rng.random() < 0.25:
        props.append(
            Prop(
                "barrier",
                inner,
                s + length + 3.0,
                style=street.kit,
                variant=number(rng),
                reach=float(rng.uniform(6, 16)),
            )
        )
    return props + crew(
        rng, street, middle, s + length + 3.0, max(6.0, reach - length), abs(outer - inner)
    )


def kerbside(rng: np.random.Generator, street: Street, s: float, reach: float) -> list[Prop]:
    """Works at the kerb or on the pavement, fenced off."""
    reach = min(reach, float(rng.uniform(8, 22)))
    left_hand = street.oncoming > 0 and rng.random() < 0.25
    edge = street.far_edge if left_hand else street.near_edge
    sign = -street.side if left_hand else street.side
    inner, outer = edge - sign * 1.3, edge + sign * max(0.8, street.pavement * 0.6)
    props = channelisers(rng, street, taper((edge, s), (inner, s + 3), 1.3))
    props += channelisers(rng, street, taper((inner, s + 5), (inner, s + reach), 2.6))
    props.append(
        Prop(
            "pedestrian barrier",
            (inner + outer) / 2,
            s + 1.0,
            style=street.kit,
            variant=number(rng),
            reach=2.0,
        )
    )
    if rng.random() < 0.55:
        props.append(
            Prop("fence", outer, s + 1.0, style=street.kit, variant=number(rng), reach=reach)
        )
    if rng.random() < 0.6:
        props.append(
            Prop(
                "works sign",
                edge + sign * 0.5,
                s - float(rng.uniform(1, 5)),
                style=street.kit,
                variant=number(rng),
            )
        )
    return props + crew(rng, street, (inner + outer) / 2, s + 1.5, reach, abs(outer - inner))


def road_closed(rng: np.random.Generator, street: Street, s: float, reach: float) -> list[Prop]:
    """Barricades across the driving direction, signs beside them, a crew behind."""
    inner = street.side * 0.3
    outer = street.near_edge - street.side * street.parking
    count = max(1, int(abs(outer - inner) / 2.7))
    props = [
        Prop(
            "barricade" if rng.random() < 0.8 else "pedestrian barrier",
            inner + (outer - inner) * (i + 0.5) / count,
            s,
            style=street.kit,
            variant=number(rng),
            reach=2.0,
        )
        for i in range(count)
    ]
    props += channelisers(rng, street, taper((inner, s - 8), (inner, s + 6), 2.5))
    props.append(
        Prop(
            "works sign", outer - street.side * 0.5, s - 1.5, style=street.kit, variant=number(rng)
        )
    )
    return props + crew(
        rng, street, (inner + outer) / 2, s + 4, min(reach, 20.0), abs(outer - inner)
    )


def mobile(rng: np.random.Generator, street: Street, s: float, reach: float) -> list[Prop]:
    """A works lorry at the edge with a few cones behind it and people beside it."""
    d = street.near_edge - street.side * (street.parking * 0.4 + 1.3)
    inner = d - street.side * 1.6
    props = [Prop("work truck", d, s + 6, style=street.kit, variant=number(rng) | 1)]
    props += channelisers(rng, street, taper((d + street.side, s - 2), (inner, s + 5), 1.9))
    props += channelisers(rng, street, taper((inner, s + 7), (inner, s + min(reach, 18)), 3.0))
    for _ in range(int(rng.integers(1, 4))):
        props.append(
            Prop(
                "worker",
                d + float(rng.uniform(-1, 1)),
                s + float(rng.uniform(1, 5)),
                variant=number(rng),
                mirror=bool(rng.random() < 0.5),
            )
        )
    return props


BUILDERS = {
    "lane closure": lane_closure,
    "kerbside": kerbside,
    "road closed": road_closed,
    "mobile": mobile,
}


def sample_zone(rng: np.random.Generator, street: Street, start: float, reach: float) -> list[Prop]:
    """Draw a work zone.

    Args:
        rng: Source of randomness.
        street: The street that it stands in.
        start: Position of its first channeliser along the street in metres.
        reach: Length in metres.

    Returns:
        The zone's things, every one of them a works object.
    """
    layout = str(rng.choice(LAYOUTS, p=LAYOUT_SHARES))
    return BUILDERS[layout](rng, street, start, reach)
