"""A street: its cross-section, what is built and planted along it, its traffic."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from roadwork.data.scenes.background import GroundPlan
from roadwork.data.scenes.buildings import Building, sample_row
from roadwork.data.scenes.camera import Source
from roadwork.data.scenes.conditions import Colour
from roadwork.data.scenes.props import Prop
from roadwork.data.scenes.vegetation import AUTUMN, GREENS
from roadwork.data.scenes.vehicles import CAR_COLOURS, ORANGE_PAINT

__all__ = ["ENVIRONMENTS", "Street", "sample_street"]

ENVIRONMENTS = ("Urban", "Suburban", "Highway", "Rural")
SHARES = (0.46, 0.26, 0.14, 0.14)
ASPHALT: tuple[Colour, ...] = ((92, 92, 94), (108, 106, 104), (78, 79, 83), (122, 118, 112))
PAVING: tuple[Colour, ...] = ((158, 154, 148), (142, 138, 136), (172, 164, 152))
VERGES: tuple[Colour, ...] = ((96, 118, 62), (118, 124, 74), (132, 122, 90), (84, 106, 58))


@dataclass(frozen=True)
class Street:
    """One street, described along a straight axis.

    Attributes:
        environment: ``Urban``, ``Suburban``, ``Highway`` or ``Rural``.
        kit: Sign and marking convention.
        lane: Lane width in metres.
        ahead: Lanes in the driving direction.
        oncoming: Lanes in the other direction.
        side: Side of the road that one drives on: 1 right, -1 left.
        near_edge: Lateral position of the kerb on the driver's side (signed).
        far_edge: Lateral position of the other kerb (signed).
        own_lane: Lateral position of the camera's lane centre.
        parking: Width of a parking lane on the driver's side in metres; 0 for none.
        pavement: Width of each pavement in metres.
        curvature: Road curvature in 1/m.
        crossings: Positions of zebra crossings in metres.
        plan: Strips of ground.
        buildings: Facades.
        props: Furniture, trees and parked vehicles.
        traffic: Moving vehicles.
        drift: Offset of the clouds.
    """

    environment: str
    kit: str
    lane: float
    ahead: int
    oncoming: int
    side: int
    near_edge: float
    far_edge: float
    own_lane: float
    parking: float
    pavement: float
    curvature: float
    crossings: tuple[float, ...]
    plan: GroundPlan
    buildings: list[Building]
    props: list[Prop]
    traffic: list[Prop]
    drift: int


def vehicle_paint(rng: np.random.Generator) -> Colour:
    """An ordinary paint."""
    return CAR_COLOURS[int(rng.integers(len(CAR_COLOURS)))]


def sample_vehicle(
    rng: np.random.Generator, d: float, s: float, speed: float = 0.0, oncoming: bool = False
) -> Prop:
    """A vehicle with an ordinary or, one time in fourteen, an orange paint."""
    style = str(rng.choice(["car", "suv", "van", "lorry", "bus"], p=[0.5, 0.28, 0.12, 0.07, 0.03]))
    paint = vehicle_paint(rng)
    if rng.random() < 0.07:
        paint = ORANGE_PAINT[int(rng.integers(len(ORANGE_PAINT)))]
    return Prop(
        "vehicle",
        d,
        s,
        colour=paint,
        style=style,
        mirror=oncoming,
        speed=speed,
        variant=int(rng.integers(2**16)),
    )


def sample_verge_props(
    rng: np.random.Generator,
    environment: str,
    edges: tuple[float, float],
    pavement: float,
    end: float,
    lamp_spacing: float,
) -> list[Prop]:
    """Lamps, poles, trees, bushes and rails along both sides; ``edges`` is (left, right)."""
    props: list[Prop] = []
    autumn = rng.random() < 0.22
    bare = not autumn and rng.random() < 0.12
    crowns = AUTUMN if autumn else GREENS
    density = {"Urban": 26.0, "Suburban": 13.0, "Highway": 12.0, "Rural": 8.0}[environment]
    for sign, edge in ((-1, edges[0]), (1, edges[1])):
        s = float(rng.uniform(0, density))
        while s < end:
            wide = environment in ("Urban",)
            out = pavement * 0.55 if wide else pavement + float(rng.uniform(1.5, 9.0))
            tree = Prop(
                "tree",
                edge + sign * out,
                s,
                size=float(rng.uniform(0.7, 1.5)),
                colour=crowns[int(rng.integers(len(crowns)))],
                style="bare" if bare else "",
                variant=int(rng.integers(2**16)),
            )
            bush = Prop(
                "bush",
                edge + sign * (pavement + float(rng.uniform(1.0, 3.0))),
                s + 3,
                size=float(rng.uniform(0.7, 1.6)),
                colour=crowns[int(rng.integers(len(crowns)))],
                variant=int(rng.integers(2**16)),
            )
            props.append(tree)
            if environment != "Urban" and rng.random() < 0.6:
                props.append(bush)
            s += density * float(rng.uniform(0.5, 1.5))
        if environment in ("Urban", "Suburban") or rng.random() < 0.3:
            s = lamp_spacing * (1.0 if sign > 0 else 0.5)
            while s < end:
                props.append(Prop("lamp", edge + sign * 0.5, s, mirror=sign > 0))
                s += lamp_spacing
        if environment in ("Suburban", "Rural") and sign > 0:
            props += [
                Prop("wire pole", edge + sign * (pavement + 0.8), float(s))
                for s in np.arange(rng.uniform(5, 30), end, 38.0)
            ]
        if environment == "Highway":
            props += [
                Prop("guard rail", edge + sign * 0.5, float(s), reach=10.0)
                for s in np.arange(-10.0, end, 10.0)
            ]
    return props


def sample_street(
    rng: np.random.Generator, source: Source, end: float, lamp_spacing: float
) -> Street:
    """Draw a street of at least ``end`` metres.

    Args:
        rng: Source of randomness.
        source: Camera family; it decides the country's conventions.
        end: Length in metres.
        lamp_spacing: Distance of street lamps in metres.
    """
    environment = str(rng.choice(ENVIRONMENTS, p=SHARES))
    kit = source.kits[int(rng.integers(len(source.kits)))]
    side = -1 if kit == "uk" else 1
    highway = environment == "Highway"
    lane = float(rng.uniform(3.4, 3.8) if highway else rng.uniform(2.9, 3.5))
    ahead = int(rng.integers(2, 4)) if highway else int(rng.choice([1, 2], p=[0.62, 0.38]))
    oncoming = 0 if highway else ahead
    if environment == "Urban" and rng.random() < 0.2:
        ahead, oncoming = 2, 0
    parking = 2.2 if environment in ("Urban", "Suburban") and rng.random() < 0.55 else 0.0
    shoulder = 2.6 if highway else (0.5 if environment == "Rural" else 0.0)
    near_edge = side * (ahead * lane + parking + shoulder)
    far_edge = -side * (oncoming * lane + (parking if oncoming else 0.0) + 0.4)
    pavement = {"Urban": 3.0, "Suburban": 1.9, "Highway": 0.6, "Rural": 0.4}[environment]
    own = int(rng.integers(ahead))
    edges = (min(near_edge, far_edge), max(near_edge, far_edge))

    asphalt = ASPHALT[int(rng.integers(len(ASPHALT)))]
    paving = PAVING[int(rng.integers(len(PAVING)))]
    verge = VERGES[int(rng.integers(len(VERGES)))]
    outside = paving if environment == "Urban" else verge
    walk = paving if environment in ("Urban", "Suburban") else verge
    plan = GroundPlan(
        edges=(edges[0] - pavement, edges[0], edges[1], edges[1] + pavement),
        colours=(outside, walk, asphalt, walk, outside),
        roughness=(1.4, 1.0, 1.0, 1.0, 1.4),
        paved=(False, False, True, False, False),
        texture=int(rng.integers(30, 34)),
    )
    buildings: list[Building] = []
    for sign, edge in ((-1, edges[0]), (1, edges[1])):
        if environment in ("Urban", "Suburban"):
            buildings += sample_row(rng, sign, abs(edge) + pavement, end, environment == "Urban")
    props = sample_verge_props(rng, environment, edges, pavement, end, lamp_spacing)
    if highway:
        props += [
            Prop("median", far_edge - side * 0.2, float(s), reach=10.0)
            for s in np.arange(-10.0, end, 10.0)
        ]
    if parking:
        s = float(rng.uniform(0, 12))
        while s < end:
            if rng.random() < 0.5:
                props.append(sample_vehicle(rng, near_edge - side * 1.1, s))
            s += float(rng.uniform(5.8, 12))
    for _ in range(int(rng.integers(1, 5))):
        style = str(rng.choice(["speed", "info", "triangle", "stop", "diamond"]))
        if (style == "diamond") != (kit in ("us", "br")) and style in ("diamond", "triangle"):
            style = "info"
        props.append(
            Prop(
                "traffic sign",
                near_edge + side * 0.7,
                float(rng.uniform(8, end)),
                style=style,
                variant=int(rng.integers(2**16)),
            )
        )
    return Street(
        environment=environment,
        kit=kit,
        lane=lane,
        ahead=ahead,
        oncoming=oncoming,
        side=side,
        near_edge=near_edge,
        far_edge=far_edge,
        own_lane=side * (own + 0.5) * lane,
        parking=parking,
        pavement=pavement,
        curvature=float(rng.normal(0, 0.0012)) if rng.random() < 0.6 else 0.0,
        crossings=tuple(float(s) for s in rng.uniform(10, end, int(rng.integers(0, 3))))
        if environment == "Urban"
        else (),
        plan=plan,
        buildings=buildings,
        props=props,
        traffic=sample_traffic(rng, ahead, oncoming, lane, side, own, end),
        drift=int(rng.integers(512)),
    )


def sample_traffic(
    rng: np.random.Generator,
    ahead: int,
    oncoming: int,
    lane: float,
    side: int,
    own: int,
    end: float,
) -> list[Prop]:
    """Moving vehicles; speeds are metres a frame, relative to the street."""
    traffic: list[Prop] = []
    for number in range(ahead):
        if number == own:
            if rng.random() < 0.35:
                traffic.append(
                    sample_vehicle(
                        rng, side * (number + 0.5) * lane, float(rng.uniform(14, 45)), speed=-1.0
                    )
                )
            continue
        for _ in range(int(rng.integers(0, 3))):
            traffic.append(
                sample_vehicle(
                    rng,
                    side * (number + 0.5) * lane,
                    float(rng.uniform(5, 70)),
                    float(rng.uniform(2, 9)),
                )
            )
    for number in range(oncoming):
        for _ in range(int(rng.integers(0, 4))):
            traffic.append(
                sample_vehicle(
                    rng,
                    -side * (number + 0.5) * lane,
                    float(rng.uniform(8, end)),
                    -float(rng.uniform(3, 10)),
                    oncoming=True,
                )
            )
    return traffic
