"""Time of day and weather: what lights a scene, what veils it, and the ROADWork words for both."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from roadwork.errors import ConfigError

__all__ = ["TIMES_OF_DAY", "WEATHERS", "Colour", "Conditions", "Tint", "sample_conditions"]

Colour = tuple[int, int, int]
Gain = tuple[float, float, float]

# Cameras expose for retro-reflective sheeting; without a limit its orange would clip to yellow.
BRIGHTEST = 1.4


@dataclass(frozen=True)
class TimeOfDay:
    """Light of one time of day.

    Attributes:
        share: How often it occurs.
        ambient: Gain of the diffuse light for red, green and blue.
        zenith: Clear sky colour overhead.
        skyline: Clear sky colour at the horizon.
        overcast: Covered sky colour.
        headlights: Strength of the car's own lights, 0 to 1.
        lamps: Strength of street lamps and lit windows, 0 to 1.
    """

    share: float
    ambient: Gain
    zenith: Colour
    skyline: Colour
    overcast: Colour
    headlights: float
    lamps: float


@dataclass(frozen=True)
class Weather:
    """Veil and cover of one weather.

    Attributes:
        share: How often it occurs.
        cover: Share of the sky behind cloud, 0 to 1.
        sun: Strength of direct sun, 0 to 1.
        fog: Extinction in 1/m: a thing at depth z keeps exp(-fog z) of its contrast.
        wet: Wetness of the road, 0 to 1.
        snow: Snow cover of the verges, 0 to 1.
        streaks: Falling drops or flakes in an image of 512 x 288 pixels.
    """

    share: float
    cover: float
    sun: float
    fog: float
    wet: float
    snow: float
    streaks: int


TIMES_OF_DAY: dict[str, TimeOfDay] = {
    "Light": TimeOfDay(
        0.68, (1.0, 1.0, 1.0), (92, 146, 206), (198, 218, 236), (196, 201, 207), 0.0, 0.0
    ),
    "Twilight": TimeOfDay(
        0.14, (0.60, 0.54, 0.56), (64, 80, 128), (236, 164, 116), (112, 112, 126), 0.25, 0.7
    ),
    "Dark": TimeOfDay(
        0.18, (0.19, 0.185, 0.215), (9, 11, 22), (34, 32, 42), (30, 30, 38), 1.0, 1.0
    ),
}

WEATHERS: dict[str, Weather] = {
    "Sunny": Weather(0.36, 0.12, 1.0, 0.0008, 0.0, 0.0, 0),
    "Partly Cloudy": Weather(0.18, 0.5, 0.6, 0.0012, 0.0, 0.0, 0),
    "Cloudy": Weather(0.20, 0.95, 0.0, 0.002, 0.0, 0.0, 0),
    "Rain": Weather(0.13, 1.0, 0.0, 0.009, 1.0, 0.0, 170),
    "Snow": Weather(0.07, 1.0, 0.0, 0.010, 0.3, 0.9, 240),
    "Fog": Weather(0.06, 1.0, 0.0, 0.032, 0.2, 0.0, 0),
}


@dataclass(frozen=True)
class Tint:
    """Light and veil at one place; turns a surface colour into a pixel colour."""

    gain: Gain
    beam: float
    keep: float
    veil: Colour

    def __call__(self, colour: Colour, shade: float = 1.0, retro: float = 0.0) -> Colour:
        """Colour of a matt surface.

        Args:
            colour: Colour under white light.
            shade: Extra gain, for a side that faces away from the light.
            retro: Share of retro-reflective sheeting; it returns headlights to the driver.
        """
        # Written out for each channel: it runs hundreds of times an image.
        extra = 1.2 * retro * self.beam
        r, g, b = colour
        gain_r, gain_g, gain_b = self.gain
        veil_r, veil_g, veil_b = self.veil
        keep = self.keep
        lost = 1.0 - keep
        return (
            int(min(r * min(gain_r * shade + extra, BRIGHTEST), 255.0) * keep + veil_r * lost),
            int(min(g * min(gain_g * shade + extra, BRIGHTEST), 255.0) * keep + veil_g * lost),
            int(min(b * min(gain_b * shade + extra, BRIGHTEST), 255.0) * keep + veil_b * lost),
        )

    def glow(self, colour: Colour) -> Colour:
        """Colour of a thing that shines by itself: only the veil dims it."""
        return mix(self.veil, colour, self.keep)


@dataclass(frozen=True)
class Conditions:
    """Time of day, weather and sun of one drive.

    Attributes:
        time_name: ``Light``, ``Twilight`` or ``Dark``.
        weather_name: A key of ``WEATHERS``.
        time: The light.
        weather: The veil.
        sun_side: -1 when the sun stands to the left, 1 to the right.
        shadow: Length of a cast shadow in heights of the thing.
        exposure: Gain that the camera chose for the drive.
        lamp_spacing: Distance of street lamps in metres.
    """

    time_name: str
    weather_name: str
    time: TimeOfDay
    weather: Weather
    sun_side: int
    shadow: float
    exposure: float
    lamp_spacing: float

    @property
    def direct_sun(self) -> float:
        """Strength of direct sun, 0 to 1; none in the dark."""
        return self.weather.sun * (0.0 if self.time_name == "Dark" else 1.0)

    @property
    def ambient(self) -> Gain:
        """Diffuse light with cloud cover and exposure, as a gain for each channel."""
        dim = self.exposure * (1.0 - 0.2 * self.weather.cover)
        r, g, b = self.time.ambient
        warm = 0.06 * self.direct_sun
        return r * dim * (1 + warm), g * dim * (1 + warm / 2), b * dim

    @property
    def sky(self) -> tuple[Colour, Colour]:
        """Sky colours overhead and at the horizon."""
        cover = self.weather.cover
        gain = self.exposure if self.time_name == "Light" else 1.0
        top = mix(self.time.zenith, self.time.overcast, cover, gain)
        low = mix(self.time.skyline, self.time.overcast, 0.9 * cover, gain)
        return top, low

    @property
    def veil(self) -> Colour:
        """Colour that distance fades to."""
        return self.sky[1]

    def beam(self, x: float, z: float) -> float:
        """Headlight strength ``x`` metres beside the camera's axis at depth ``z`` metres."""
        spread = 1.6 + 0.13 * z
        return (
            self.time.headlights
            * math.exp(-0.5 * (x / spread) ** 2)
            * min(1.0, (14.0 / max(z, 1.0)) ** 1.3)
        )

    def tint(self, x: float, z: float, s: float) -> Tint:
        """Light and veil at a place.

        Args:
            x: Metres to the right of the camera.
            z: Depth in metres.
            s: Position along the street in metres, for the pools of the street lamps.
        """
        beam = self.beam(x, z)
        pool = 0.5 + 0.5 * math.cos(2 * math.pi * s / self.lamp_spacing)
        lamp = 0.34 * self.time.lamps * pool * (0.0 if self.time_name != "Dark" else 1.0)
        r, g, b = self.ambient
        gain = (r + 0.8 * beam + lamp, g + 0.78 * beam + 0.82 * lamp, b + 0.7 * beam + 0.5 * lamp)
        return Tint(gain, beam, math.exp(-self.weather.fog * z), self.veil)


def mix(first: Colour, second: Colour, weight: float, gain: float = 1.0) -> Colour:
    """Blend two colours; ``weight`` is the share of the second."""
    r, g, b = (
        int(min(255.0, gain * (p * (1 - weight) + q * weight)))
        for p, q in zip(first, second, strict=True)
    )
    return r, g, b


def sample_conditions(
    rng: np.random.Generator, time_of_day: str | None = None, weather: str | None = None
) -> Conditions:
    """Draw the conditions of a drive; a name that is given is kept, the rest is still random.

    Raises:
        ConfigError: If a name is unknown.
    """
    drawn_time = str(rng.choice(list(TIMES_OF_DAY), p=[t.share for t in TIMES_OF_DAY.values()]))
    drawn_weather = str(rng.choice(list(WEATHERS), p=[w.share for w in WEATHERS.values()]))
    time_name = drawn_time if time_of_day is None else time_of_day
    weather_name = drawn_weather if weather is None else weather
    if time_name not in TIMES_OF_DAY:
        raise ConfigError(
            f"scenes: time_of_day {time_name!r} is unknown; choose one of {list(TIMES_OF_DAY)}."
        )
    if weather_name not in WEATHERS:
        raise ConfigError(
            f"scenes: weather {weather_name!r} is unknown; choose one of {list(WEATHERS)}."
        )
    return Conditions(
        time_name=time_name,
        weather_name=weather_name,
        time=TIMES_OF_DAY[time_name],
        weather=WEATHERS[weather_name],
        sun_side=int(rng.choice([-1, 1])),
        shadow=float(rng.uniform(0.5, 1.6)),
        exposure=float(rng.uniform(0.82, 1.12)),
        lamp_spacing=float(rng.uniform(24.0, 38.0)),
    )
