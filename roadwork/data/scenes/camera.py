"""Pinhole camera over a flat road, and the three camera families (sources).

Road coordinates, in metres: ``d`` to the right of the road's centre line, ``y`` up from the road,
``z`` forward from the camera. A road of curvature ``k`` (1/m) is approximated by the parabola
``x = d + k z^2 / 2``, so a straight-road description bends without any other change.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from roadwork.errors import ConfigError

__all__ = ["SOURCES", "SUPERSAMPLE", "Point", "Source", "View", "sample_view", "source_named"]

SUPERSAMPLE = 2
NEAREST = 0.9

Point = tuple[float, float]


@dataclass(frozen=True)
class Source:
    """One camera family: where it drives, how it sees, how often it meets works.

    Attributes:
        name: Value of the ``source`` column.
        prior: Share of images with works.
        height: Camera height range in metres.
        horizon: Range of the horizon's row, as a share of the image height.
        field_of_view: Horizontal field of view range in degrees.
        quality: JPEG quality range.
        white_balance: Red and blue gain (green is 1).
        contrast: Exponent-like contrast of the tone curve (1 is neutral).
        saturation: Colour saturation (1 is neutral).
        noise: Standard deviation of the sensor noise at daylight, in 8-bit levels.
        blur: Standard deviation range of the lens blur in pixels of a 512-pixel-wide image.
        dash: What of the car shows: ``bonnet``, ``reflection`` or ``nothing``.
        kits: Sign and marking conventions that occur (``us``, ``eu``, ``uk``, ``br``).
        cities: Cities that the ``city`` column may name; empty means that it stays empty.
        cameras: Device names of the ``camera`` column.
    """

    name: str
    prior: float
    height: tuple[float, float]
    horizon: tuple[float, float]
    field_of_view: tuple[float, float]
    quality: tuple[int, int]
    white_balance: tuple[float, float]
    contrast: float
    saturation: float
    noise: float
    blur: tuple[float, float]
    dash: str
    kits: tuple[str, ...]
    cities: tuple[str, ...]
    cameras: tuple[str, ...]


SOURCES: tuple[Source, ...] = (
    Source(
        name="natix-like",
        prior=0.85,
        height=(1.15, 1.4),
        horizon=(0.40, 0.52),
        field_of_view=(56.0, 66.0),
        quality=(72, 80),
        white_balance=(1.06, 0.93),
        contrast=1.05,
        saturation=1.08,
        noise=2.6,
        blur=(0.45, 0.8),
        dash="bonnet",
        kits=("us",),
        cities=("indianapolis", "columbus", "denver", "charlotte", "pittsburgh"),
        cameras=("phone-a", "phone-b"),
    ),
    Source(
        name="roadwork-like",
        prior=0.6,
        height=(1.25, 1.55),
        horizon=(0.42, 0.54),
        field_of_view=(60.0, 72.0),
        quality=(84, 95),
        white_balance=(0.99, 1.02),
        contrast=1.0,
        saturation=0.98,
        noise=1.8,
        blur=(0.3, 0.6),
        dash="reflection",
        kits=("us",),
        cities=("pittsburgh", "boston", "chicago", "seattle", "phoenix", "minneapolis"),
        cameras=("dashcam-1080p",),
    ),
    Source(
        name="vistas-like",
        prior=0.3,
        height=(1.2, 2.3),
        horizon=(0.36, 0.55),
        field_of_view=(50.0, 80.0),
        quality=(60, 92),
        white_balance=(1.0, 1.0),
        contrast=0.96,
        saturation=0.92,
        noise=2.2,
        blur=(0.3, 1.0),
        dash="nothing",
        kits=("eu", "uk", "br"),
        cities=(),
        cameras=("phone-c", "action-camera", "survey-rig"),
    ),
)


def source_named(name: str) -> Source:
    """Look a source up by its name.

    Raises:
        ConfigError: If no source has that name.
    """
    for source in SOURCES:
        if source.name == name:
            return source
    known = ", ".join(source.name for source in SOURCES)
    raise ConfigError(f"scenes: there is no camera family {name!r}; choose one of {known}.")


@dataclass(frozen=True)
class View:
    """A camera in the road: projects road coordinates to pixels of the supersampled canvas.

    Attributes:
        size: Width and height of the final image in pixels.
        focal: Focal length in canvas pixels.
        centre: Column of the vanishing point of a straight road, in canvas pixels.
        horizon: Row of the horizon, in canvas pixels.
        height: Camera height above the road in metres.
        lateral: The camera's own ``d`` in metres.
        curvature: Road curvature in 1/m; positive bends right.
    """

    size: tuple[int, int]
    focal: float
    centre: float
    horizon: float
    height: float
    lateral: float
    curvature: float

    def project(self, d: float, y: float, z: float) -> Point:
        """Project one point; depths in front of the near plane are moved onto it."""
        z = max(z, NEAREST)
        scale = self.focal / z
        x = d - self.lateral + 0.5 * self.curvature * z * z
        return self.centre + scale * x, self.horizon + scale * (self.height - y)

    def scale(self, z: float) -> float:
        """Canvas pixels a metre at depth ``z``."""
        return self.focal / max(z, NEAREST)


def sample_view(
    rng: np.random.Generator,
    source: Source,
    size: tuple[int, int],
    lateral: float,
    curvature: float,
) -> View:
    """Draw the mounting and the lens of one drive's camera.

    Args:
        rng: Source of randomness.
        source: Camera family.
        size: Width and height of the final image in pixels.
        lateral: Lane position of the car, ``d`` in metres.
        curvature: Road curvature in 1/m.
    """
    width, height = size
    half_angle = np.deg2rad(rng.uniform(*source.field_of_view)) / 2
    return View(
        size=size,
        focal=float(SUPERSAMPLE * width / 2 / np.tan(half_angle)),
        centre=float(SUPERSAMPLE * width * rng.uniform(0.46, 0.54)),
        horizon=float(SUPERSAMPLE * height * rng.uniform(*source.horizon)),
        height=float(rng.uniform(*source.height)),
        lateral=lateral,
        curvature=curvature,
    )
