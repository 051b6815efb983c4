"""From light to file: halos, falling rain and snow, lens, tone curve, sensor noise, the car.

All of it depends on the drive and the frame only, never on the label.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from roadwork.data.scenes.camera import Source
from roadwork.data.scenes.canvas import Glow
from roadwork.data.scenes.conditions import Conditions
from roadwork.data.scenes.texture import grain

__all__ = ["Sensor", "develop", "sample_sensor"]


@dataclass(frozen=True)
class Sensor:
    """One drive's camera settings.

    Attributes:
        blur: Standard deviation of the lens blur in pixels.
        noise: Standard deviation of the noise in 8-bit levels.
        table: Tone curve and white balance: 768 entries, 256 for each channel.
        saturation: Colour saturation, 1 is neutral.
        quality: JPEG quality.
        dash: ``bonnet``, ``reflection`` or ``nothing``.
        bonnet_row: Height of the bonnet's top as a share of the image height, from the bottom.
    """

    blur: float
    noise: float
    table: tuple[int, ...]
    saturation: float
    quality: int
    dash: str
    bonnet_row: float


def sample_sensor(
    rng: np.random.Generator, source: Source, conditions: Conditions, width: int
) -> Sensor:
    """Draw the settings of a drive's camera."""
    levels = np.arange(256) / 255.0
    contrast = source.contrast * rng.uniform(0.92, 1.08)
    curve = 0.5 + (levels - 0.5) * contrast
    curve = np.clip(curve, 0, 1) ** rng.uniform(0.88, 1.1)
    if conditions.time_name == "Dark":
        curve = curve**0.82
    red, blue = (gain * rng.uniform(0.97, 1.03) for gain in source.white_balance)
    table = np.concatenate([curve * red, curve, curve * blue])
    dark = {"Light": 1.0, "Twilight": 1.6, "Dark": 2.4}[conditions.time_name]
    return Sensor(
        blur=float(rng.uniform(*source.blur)) * width / 512,
        noise=source.noise * dark * float(rng.uniform(0.8, 1.2)),
        table=tuple(int(v) for v in np.clip(np.round(table * 255), 0, 255)),
        saturation=source.saturation * float(rng.uniform(0.93, 1.07)),
        quality=int(rng.integers(source.quality[0], source.quality[1] + 1)),
        dash=source.dash,
        bonnet_row=float(rng.uniform(0.04, 0.09)),
    )


def add_halos(pixels: np.ndarray, glows: list[Glow]) -> None:
    """Add every lamp's halo to float32 pixels of shape (height, width, 3), in place."""
    height, width = pixels.shape[:2]
    for glow in glows:
        r = int(2 * glow.radius) + 1
        x, y = int(glow.x), int(glow.y)
        left, right, upper, lower = (
            max(0, x - r),
            min(width, x + r + 1),
            max(0, y - r),
            min(height, y + r + 1),
        )
        if left >= right or upper >= lower:
            continue
        across = np.exp(-0.5 * ((np.arange(left, right) - glow.x) / (0.6 * glow.radius)) ** 2)
        along = np.exp(-0.5 * ((np.arange(upper, lower) - glow.y) / (0.6 * glow.radius)) ** 2)
        spot = (along[:, None] * across[None, :] * glow.strength * 0.7).astype(np.float32)
        colour = np.asarray(glow.colour, dtype=np.float32)
        pixels[upper:lower, left:right] += spot[..., None] * colour


def add_precipitation(
    image: Image.Image, rng: np.random.Generator, conditions: Conditions
) -> Image.Image:
    """Draw rain streaks or snow flakes over an image."""
    width, height = image.size
    count = conditions.weather.streaks * width * height // (512 * 288)
    if count == 0:
        return image
    snow = conditions.weather.snow > 0
    light = 0.45 if conditions.time_name == "Dark" else 1.0
    veil = tuple(int(min(255, c * 0.6 + 110 * light)) for c in conditions.veil)
    pen = ImageDraw.Draw(image, "RGBA")
    unit = width / 512
    xs = (rng.random(count) * width).tolist()
    ys = (rng.random(count) * height).tolist()
    near = (rng.random(count) ** 3).tolist()
    slant = float(rng.normal(0, 2.0))
    for x, y, close in zip(xs, ys, near, strict=True):
        alpha = int(70 + 90 * close)
        if snow:
            r = (0.5 + 1.7 * close) * unit
            pen.ellipse((x - r, y - r, x + r, y + r), fill=(*veil, alpha + 70))
        else:
            length = (5 + 16 * close) * unit
            pen.line((x, y, x + slant * length / 12, y + length), fill=(*veil, alpha), width=1)
    return image


@lru_cache(maxsize=8)
def vignette(width: int, height: int) -> np.ndarray:
    """Fall-off towards the corners: float32 of shape (height, width, 1)."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    return (1.0 - 0.11 * (x * x + y * y)).astype(np.float32)[..., None]


def draw_bonnet(image: Image.Image, sensor: Sensor, conditions: Conditions) -> None:
    """Draw the top of the car's own bonnet at the lower edge."""
    width, height = image.size
    top = height * (1 - sensor.bonnet_row)
    gain = conditions.ambient[1]
    pen = ImageDraw.Draw(image)
    for step, level in ((0.0, 74), (0.012, 58), (0.03, 44)):
        y = top + step * height
        colour = tuple(int(min(255, level * gain * c)) for c in (0.96, 1.0, 1.06))
        pen.polygon(
            [
                (0, height),
                (0, y + 0.05 * height),
                (0.15 * width, y + 0.018 * height),
                (0.5 * width, y),
                (0.85 * width, y + 0.018 * height),
                (width, y + 0.05 * height),
                (width, height),
            ],
            fill=colour,
        )


@lru_cache(maxsize=8)
def reflection(width: int, height: int) -> np.ndarray:
    """Faint reflection of a dashboard in the windscreen: float32 (height, width, 1), in 0..1."""
    picture = Image.new("L", (width, height), 0)
    pen = ImageDraw.Draw(picture)
    pen.polygon(
        [(0, height), (0.1 * width, 0.72 * height), (0.9 * width, 0.7 * height), (width, height)],
        fill=70,
    )
    for share in (0.2, 0.42, 0.63, 0.8):
        pen.rectangle(
            [share * width, 0.78 * height, (share + 0.1) * width, 0.88 * height], fill=130
        )
    soft = picture.filter(ImageFilter.GaussianBlur(width / 60))
    return (np.asarray(soft, dtype=np.float32) / 255.0)[..., None]


def saturation_matrix(saturation: float) -> tuple[float, ...]:
    """Pillow's 3 x 4 matrix that scales the distance of every colour from its luma."""
    luma = np.asarray((0.299, 0.587, 0.114))
    matrix = np.zeros((3, 4))
    matrix[:, :3] = (1.0 - saturation) * luma + saturation * np.eye(3)
    return tuple(float(v) for v in matrix.ravel())


def develop(
    image: Image.Image,
    glows: list[Glow],
    sensor: Sensor,
    conditions: Conditions,
    rng: np.random.Generator,
) -> Image.Image:
    """Turn a drawn scene into what the camera would have stored.

    Args:
        image: RGB image at the final size.
        glows: Halos of lamps.
        sensor: Camera settings.
        conditions: Light and weather.
        rng: Randomness of this frame; the draws do not depend on the image.

    Returns:
        RGB image of the same size.
    """
    width, height = image.size
    image = add_precipitation(image, rng, conditions)
    if sensor.dash == "bonnet":
        draw_bonnet(image, sensor, conditions)
    # A box of fractional radius r below 1 is the kernel (r, 1, r) / (1 + 2 r) in each direction;
    # its variance is 2 r / (1 + 2 r).
    variance = min(sensor.blur**2, 0.72)
    image = image.filter(ImageFilter.BoxBlur(variance / (2.0 * (1.0 - variance))))
    image = image.convert("RGB", saturation_matrix(sensor.saturation))
    pixels = np.asarray(image, dtype=np.float32) * vignette(width, height)
    add_halos(pixels, glows)
    if sensor.dash == "reflection":
        pixels += reflection(width, height) * (26.0 * conditions.ambient[1])
    row, column = (int(v) for v in rng.integers(0, 64, 2))
    noise = grain(width, height)[row : row + height, column : column + width]
    pixels += sensor.noise * noise
    np.clip(pixels, 0, 255, out=pixels)
    return Image.fromarray(pixels.astype(np.uint8)).point(list(sensor.table))
