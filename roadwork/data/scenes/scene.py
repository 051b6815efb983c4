"""A scene put together: street, conditions, camera, works, and the picture of one frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from roadwork.data.scenes.background import paint_background
from roadwork.data.scenes.buildings import draw_buildings
from roadwork.data.scenes.camera import SUPERSAMPLE, Source, View, sample_view, source_named
from roadwork.data.scenes.canvas import SHADOW_OF_WORKS, Canvas
from roadwork.data.scenes.conditions import Conditions, sample_conditions
from roadwork.data.scenes.distractors import sample_distractors
from roadwork.data.scenes.furniture import FURNITURE
from roadwork.data.scenes.markings import draw_markings
from roadwork.data.scenes.props import Draw, Prop
from roadwork.data.scenes.sensor import Sensor, develop, sample_sensor
from roadwork.data.scenes.street import Street, sample_street
from roadwork.data.scenes.vegetation import VEGETATION
from roadwork.data.scenes.vehicles import VEHICLES
from roadwork.data.scenes.works import CHANNELISERS
from roadwork.data.scenes.works_plant import PLANT
from roadwork.data.scenes.works_zone import sample_zone

__all__ = [
    "FARTHEST",
    "LEAST_HEIGHT",
    "Frame",
    "Scene",
    "render_frame",
    "render_single",
    "sample_scene",
]

DRAW: dict[str, Draw] = {**FURNITURE, **VEGETATION, **VEHICLES, **CHANNELISERS, **PLANT}
NEAREST, FARTHEST = 1.3, 125.0
NEAREST_WORKS = 5.5
LONGEST_VEHICLE = 11.0
WITH_BODY = frozenset({"vehicle", "work truck"})
LENGTHWISE = frozenset({"guard rail", "median", "barrier", "fence", "bollards"})
LEAST_HEIGHT = 6
"""Works smaller than this many pixels (of a 288-pixel-high image) do not make a positive."""


@dataclass(frozen=True)
class Scene:
    """Everything that a drive's frames share."""

    source: Source
    street: Street
    conditions: Conditions
    view: View
    sensor: Sensor
    zone: list[Prop]
    lookalikes: list[Prop]
    camera: str
    city: str


@dataclass(frozen=True)
class Frame:
    """One picture and what is true of it.

    Attributes:
        image: RGB picture.
        instances: uint8 of shape (height, width): 0 where no works show, ``i + 1`` where
            ``Scene.zone[i]`` shows, ``SHADOW_OF_WORKS`` where its shadow falls.
        works_area: Share of the picture that shows works, 0 to 1.
        works_height: Visible height of the tallest works object in pixels.
        works_count: Number of works objects that are visible.
    """

    image: Image.Image
    instances: np.ndarray
    works_area: float
    works_height: int
    works_count: int

    @property
    def region(self) -> np.ndarray:
        """Pixels that show works or their shadows, bool of shape (height, width)."""
        return self.instances > 0


def sample_scene(
    seed: np.random.SeedSequence,
    source: Source,
    size: tuple[int, int],
    zone_start: float,
    zone_reach: float,
    length: float,
    time_of_day: str | None = None,
    weather: str | None = None,
) -> Scene:
    """Draw a scene; works and look-alikes have streams of their own.

    Args:
        seed: Root of the scene's randomness.
        source: Camera family.
        size: Width and height of the images in pixels.
        zone_start: Where the works begin along the street in metres.
        zone_reach: Length of the works in metres.
        length: Length of the street in metres.
        time_of_day: Fixed time of day, or None.
        weather: Fixed weather, or None.
    """
    rng, zone_rng, look_rng = (np.random.default_rng(child) for child in seed.spawn(3))
    conditions = sample_conditions(rng, time_of_day, weather)
    street = sample_street(rng, source, length, conditions.lamp_spacing)
    lateral = street.own_lane + float(rng.normal(0, 0.25))
    view = sample_view(rng, source, size, lateral, street.curvature)
    sensor = sample_sensor(rng, source, conditions, size[0])
    camera = str(rng.choice(source.cameras))
    city = str(rng.choice(source.cities)) if source.cities else ""
    zone = sample_zone(zone_rng, street, zone_start, zone_reach)
    count = int(look_rng.poisson(length / 9.0))
    lookalikes = sample_distractors(look_rng, street, 4.0, length, count)
    return Scene(source, street, conditions, view, sensor, zone, lookalikes, camera, city)


def draw_frame(scene: Scene, travelled: float, frame: int, works: bool, rich: bool) -> Canvas:
    """Draw a frame's things from far to near."""
    street, view = scene.street, scene.view
    background = paint_background(
        view, scene.conditions, street.plan, travelled, street.drift + frame
    )
    canvas = Canvas(background, view, scene.conditions, travelled)
    draw_markings(canvas, street)
    draw_buildings(canvas, street.buildings)
    shown = len(scene.lookalikes) if rich else len(scene.lookalikes) // 2
    entries: list[tuple[float, int, Prop]] = []
    for prop in [*street.props, *street.traffic, *scene.lookalikes[:shown]]:
        entries.append((prop.s + prop.speed * frame - travelled, 0, prop))
    # A vehicle keeps to the camera's pace when its speed is -1.
    entries = [
        (prop.s + 0.4 * frame if prop.speed == -1.0 else z, 0, prop) for z, _, prop in entries
    ]
    if works:
        entries += [(prop.s - travelled, 1 + i % 254, prop) for i, prop in enumerate(scene.zone)]
        for z, number, prop in entries:
            if number and prop.kind == "patch" and z < FARTHEST:
                canvas.begin(number)
                DRAW[prop.kind](canvas, prop, z)
    for z, number, prop in sorted(entries, key=lambda entry: -entry[0]):
        ends = z + (LONGEST_VEHICLE if prop.kind in WITH_BODY else 0.0)
        ends += prop.reach if prop.kind in LENGTHWISE else 0.0
        if z > FARTHEST or ends < NEAREST or prop.kind == "patch":
            continue
        if ends == z and z < (NEAREST_WORKS if number else NEAREST):
            continue
        canvas.begin(number)
        DRAW[prop.kind](canvas, prop, z)
    canvas.begin(0)
    return canvas


def render_frame(
    scene: Scene,
    travelled: float,
    frame: int,
    *,
    works: bool,
    rich: bool,
    noise: np.random.SeedSequence,
) -> Frame:
    """Render one frame.

    Args:
        scene: The drive's scene.
        travelled: Position of the camera along the street in metres.
        frame: Frame number, for what moves by itself.
        works: Whether the works stand there.
        rich: Whether all look-alikes stand there, or half of them.
        noise: Randomness of rain and sensor; give a twin the same.
    """
    canvas = draw_frame(scene, travelled, frame, works, rich)
    image = develop(
        canvas.image.reduce(SUPERSAMPLE),
        canvas.glows,
        scene.sensor,
        scene.conditions,
        np.random.default_rng(noise),
    )
    marks = np.asarray(canvas.instances)
    if not marks.any():
        return Frame(image, marks, 0.0, 0, 0)
    area, tallest, count = measure_works(marks)
    return Frame(image, marks, area, tallest, count)


def measure_works(marks: np.ndarray) -> tuple[float, int, int]:
    """Visible share, tallest visible height and number of objects of an instance map."""
    objects = (marks > 0) & (marks != SHADOW_OF_WORKS)
    rows, columns = np.nonzero(objects)
    numbers = marks[rows, columns]
    highest = np.full(256, marks.shape[0])
    lowest = np.full(256, -1)
    np.minimum.at(highest, numbers, rows)
    np.maximum.at(lowest, numbers, rows)
    pixels = np.bincount(numbers, minlength=256)
    heights = np.where(pixels >= 4, lowest - highest + 1, 0)
    return float(objects.mean()), int(heights.max()), int((pixels >= 4).sum())


def render_single(
    seed: int,
    roadwork: bool,
    *,
    source: str,
    time_of_day: str | None,
    weather: str | None,
    size: tuple[int, int],
) -> Frame:
    """Render one scene on its own; see ``roadwork.data.scenes.render_scene``."""
    family = source_named(source)
    root = np.random.SeedSequence([seed, 0x5CE7E])
    near = float(np.random.default_rng(root.spawn(1)[0]).uniform(9.0, 24.0))
    scene = sample_scene(root, family, size, near, 24.0, 170.0, time_of_day, weather)
    return render_frame(scene, 0.0, 0, works=roadwork, rich=False, noise=root.spawn(1)[0])
