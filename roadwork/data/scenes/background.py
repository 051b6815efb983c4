"""Sky and ground of a frame, computed for all pixels at once.

The ground is the plane y = 0 seen through the pinhole: row ``v`` below the horizon shows depth
``z = f h / (v - v0)``. Texture is read at metric positions, so it moves with the car.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from roadwork.data.scenes.camera import SUPERSAMPLE, View
from roadwork.data.scenes.conditions import Colour, Conditions
from roadwork.data.scenes.texture import FIELD, field

__all__ = ["GroundPlan", "paint_background"]

FARTHEST = 400.0


@dataclass(frozen=True)
class GroundPlan:
    """Strips of ground from left to right.

    Attributes:
        edges: Increasing lateral positions in metres, shape (n,).
        colours: Colour of each strip, n + 1 of them.
        roughness: Texture contrast of each strip, n + 1 of them.
        paved: Which strips are the carriageway (they get wet and reflect), n + 1 of them.
        texture: Number of the noise field.
    """

    edges: tuple[float, ...]
    colours: tuple[Colour, ...]
    roughness: tuple[float, ...]
    paved: tuple[bool, ...]
    texture: int


def paint_sky(view: View, conditions: Conditions, rows: int, drift: int) -> np.ndarray:
    """Sky of shape (rows, width, 3), float32 in 0..255."""
    width = view.size[0]
    top, low = (np.asarray(c, dtype=np.float32) for c in conditions.sky)
    climb = np.linspace(0.0, 1.0, rows, dtype=np.float32)[:, None, None] ** 1.4
    sky = np.broadcast_to(top + (low - top) * climb, (rows, width, 3))
    # Clouds shrink towards the horizon, so rows are read at growing steps.
    depth = (120.0 / (1.08 - climb[:, 0, 0])).astype(np.int64)
    columns = (np.arange(width) * 400 // width + drift) % FIELD
    clouds = field(3, 3.2)[(depth % FIELD)[:, None], columns[None, :]]
    cover = conditions.weather.cover
    if conditions.direct_sun > 0 and cover < 0.9:
        amount = np.clip(clouds * 0.55 + (cover - 0.35), 0.0, 0.85)[..., None]
        white = np.asarray((246, 246, 248), dtype=np.float32)
        bright = white if conditions.time_name == "Light" else 0.5 * (white + low) * 0.8
        return sky + (bright * min(1.0, conditions.exposure) - sky) * amount
    depth_of_relief = 0.05 if conditions.time_name != "Dark" else 0.12
    return sky * (1.0 + depth_of_relief * clouds[..., None])


def paint_ground(
    view: View, conditions: Conditions, plan: GroundPlan, travelled: float, first_row: int
) -> np.ndarray:
    """Ground of shape (height - first_row, width, 3), float32 in 0..255."""
    width, height = view.size
    focal = view.focal / SUPERSAMPLE
    rows = np.arange(first_row, height, dtype=np.float32) + 0.5 - view.horizon / SUPERSAMPLE
    z = np.minimum(focal * view.height / np.maximum(rows, 0.05), FARTHEST)[:, None]
    columns = np.arange(width, dtype=np.float32) + 0.5 - view.centre / SUPERSAMPLE
    x = columns[None, :] * (z / focal)
    d = x + (view.lateral - 0.5 * view.curvature * z * z)
    s = z + travelled

    # Planes (3, rows, columns): channels last would make every operation several times slower.
    strip = np.zeros(d.shape, dtype=np.intp)
    for edge in plan.edges:
        strip += d >= edge
    colours = np.asarray(plan.colours, dtype=np.float32)
    roughness = np.asarray(plan.roughness, dtype=np.float32).take(strip)
    paved = np.asarray(plan.paved, dtype=np.float32).take(strip)

    row = (s * 14.0).astype(np.intp) % FIELD * FIELD
    fine = field(plan.texture, 0.8).take(row + (d * 14.0).astype(np.intp) % FIELD)
    row = (s * 3.1).astype(np.intp) % FIELD * FIELD
    worn = field(plan.texture + 1, 2.2).take(row + (d * 17.0).astype(np.intp) % FIELD)
    # Fine texture averages out where a pixel covers many stones.
    relief = 1.0 + roughness * (0.055 * np.minimum(1.0, 9.0 / z) * fine + 0.045 * worn)
    lying: np.ndarray | None = None
    if conditions.weather.snow:
        lying = np.clip(conditions.weather.snow * (1.15 - 0.95 * paved) + 0.22 * worn, 0.0, 1.0)
    beam: np.ndarray | float = 0.0
    if conditions.time.headlights:
        beam = conditions.time.headlights * np.exp(-0.5 * (x / (1.6 + 0.13 * z)) ** 2)
        beam = beam * (np.minimum(1.0, (14.0 / z) ** 1.3) * np.minimum(1.0, z / 5.0))
    pool = 0.5 + 0.5 * np.cos(2 * np.pi * s / conditions.lamp_spacing)
    lamp = 0.34 * conditions.time.lamps * pool * float(conditions.time_name == "Dark")
    shine: np.ndarray | None = None
    if conditions.weather.wet:
        grazing = conditions.weather.wet * np.clip(z / 45.0, 0.08, 0.75)
        shine = paved * grazing * np.clip(0.75 + 0.35 * worn, 0, 1)
    keep = np.exp(-(conditions.weather.fog + 0.0015) * z).astype(np.float32)

    planes = np.empty((3, *d.shape), dtype=np.float32)
    for channel, (ambient, head, sodium, veil) in enumerate(
        zip(conditions.ambient, (0.8, 0.78, 0.7), (1.0, 0.82, 0.5), conditions.veil, strict=True)
    ):
        base = colours[:, channel].take(strip)
        if lying is not None:
            base += (228.0 - base) * lying
        base *= relief
        base *= ambient + head * beam + sodium * lamp
        if shine is not None:
            base *= 0.86
            base += (0.9 * veil - base) * shine
        base -= veil
        base *= keep
        base += veil
        planes[channel] = base
    return planes.transpose(1, 2, 0)


def paint_background(
    view: View, conditions: Conditions, plan: GroundPlan, travelled: float, drift: int
) -> Image.Image:
    """Paint sky and ground.

    Args:
        view: The camera.
        conditions: Light and veil.
        plan: Strips of ground.
        travelled: Position of the camera along the street in metres.
        drift: Offset of the clouds, in noise columns.

    Returns:
        RGB image at the final size.
    """
    first_row = round(view.horizon / SUPERSAMPLE)
    sky = paint_sky(view, conditions, first_row, drift)
    ground = paint_ground(view, conditions, plan, travelled, first_row)
    pixels = np.concatenate([sky, ground])
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
