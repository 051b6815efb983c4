"""A synthetic street generator: a default source of labelled images that needs no network.

A fresh clone can train and evaluate on these pictures offline. The scene comes first and the label
second: street, time of day, weather and camera are drawn identically for both classes, a separate
coin decides about works, and scenes without works receive look-alikes (orange vehicles, permanent
barriers, hi-vis pedestrians, a lone cone on a pavement) instead.

Importing this package is cheap; drawing imports numpy and Pillow when it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from roadwork.errors import ConfigError

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["SceneSettings", "render_scene", "write_scenes"]


@dataclass(frozen=True)
class SceneSettings:
    """What to write: everything that decides the bytes of a synthetic data set.

    Attributes:
        seed: Root of all randomness. The same settings give identical bytes.
        drives: Number of drives (groups); drive ``i`` does not depend on this number.
        frames: Fewest and most frames of a drive, both included. A counterfactual twin is extra.
        width: Image width in pixels (natural frames; a planted near duplicate may be smaller).
        height: Image height in pixels.
        faults: Plant five unusable files, and exact and near duplicates across drives and sources.
        label_noise: Share of images whose recorded label is flipped, in [0, 0.5).
        prior: Share of images with works in every source, in [0.2, 0.9]; None: each source's own,
            0.85, 0.6 and 0.3, so that who knows the source knows something of the label.

    Raises:
        ConfigError: If a value is out of range.
    """

    seed: int
    drives: int
    frames: tuple[int, int] = (5, 12)
    width: int = 512
    height: int = 288
    faults: bool = True
    label_noise: float = 0.0
    prior: float | None = None

    def __post_init__(self) -> None:
        low, high = self.frames
        if self.seed < 0:
            raise ConfigError(f"scenes: seed is {self.seed}; use a number that is not negative.")
        if self.drives < 1:
            raise ConfigError(f"scenes: drives is {self.drives}; ask for at least one drive.")
        if not 1 <= low <= high:
            raise ConfigError(
                f"scenes: frames is ({low}, {high}); give (fewest, most) with 1 <= fewest <= most."
            )
        if self.width < 64 or self.height < 48:
            raise ConfigError(
                f"scenes: {self.width}x{self.height} is too small to draw; use at least 64x48."
            )
        if not 0.0 <= self.label_noise < 0.5:
            raise ConfigError(
                f"scenes: label_noise is {self.label_noise}; use a share from 0 to below 0.5."
            )
        if self.prior is not None and not 0.2 <= self.prior <= 0.9:
            raise ConfigError(f"scenes: prior is {self.prior}; use a share from 0.2 to 0.9.")


def write_scenes(
    root: Path,
    settings: SceneSettings,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write the images and ``scenes.csv`` below ``root``.

    Args:
        root: Folder to write into; made when absent.
        settings: What to write.
        progress: Called as ``progress(drives_done, drives)`` after every drive.

    Returns:
        The path of ``scenes.csv``: one row a file, paths relative to ``root``.
    """
    from roadwork.data.scenes.writer import write

    return write(Path(root), settings, progress)


def render_scene(
    seed: int,
    roadwork: bool,
    *,
    camera: str = "natix-like",
    time_of_day: str | None = None,
    weather: str | None = None,
    width: int = 512,
    height: int = 288,
) -> Image.Image:
    """Draw one scene; the same seed with and without works is a counterfactual pair.

    Args:
        seed: Decides street, camera, traffic and works.
        roadwork: Whether works are drawn.
        camera: ``natix-like``, ``roadwork-like`` or ``vistas-like``.
        time_of_day: ``Light``, ``Twilight`` or ``Dark``; drawn from the seed when None.
        weather: ``Sunny``, ``Partly Cloudy``, ``Cloudy``, ``Rain``, ``Snow`` or ``Fog``; drawn
            from the seed when None.
        width: Width in pixels.
        height: Height in pixels.

    Returns:
        An RGB image of ``width`` x ``height`` pixels, before JPEG compression.

    Raises:
        ConfigError: If the camera, time of day or weather is unknown.
    """
    from roadwork.data.scenes.scene import render_single

    return render_single(
        seed,
        roadwork,
        source=camera,
        time_of_day=time_of_day,
        weather=weather,
        size=(width, height),
    ).image
