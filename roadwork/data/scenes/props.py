"""Things that stand in a scene: where they are, and the registry type of how they are drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from roadwork.data.scenes.canvas import Canvas
from roadwork.data.scenes.conditions import Colour

__all__ = ["Draw", "Prop", "pick"]

T = TypeVar("T")


@dataclass(frozen=True)
class Prop:
    """One thing.

    Attributes:
        kind: Key of a registry of drawing functions.
        d: Lateral position in metres.
        s: Position along the street in metres.
        size: Scale of the thing; 1 is the usual size.
        colour: Main colour under white light.
        style: Convention or shape variant; each kind knows its own.
        variant: A number that decides details, 0 to 2**16 - 1.
        mirror: Draw it facing the other way.
        speed: Own speed in metres a frame; 0 for what stands.
        reach: Length along the street in metres, for things that are long.
    """

    kind: str
    d: float
    s: float
    size: float = 1.0
    colour: Colour = (128, 128, 128)
    style: str = ""
    variant: int = 0
    mirror: bool = False
    speed: float = 0.0
    reach: float = 0.0


Draw = Callable[[Canvas, Prop, float], None]
"""Draws a thing on a canvas at depth z in metres."""


def pick(options: tuple[T, ...], variant: int, step: int = 0) -> T:
    """Choose by a variant number; another ``step`` gives an unrelated choice."""
    return options[(variant // (1, 7, 61, 509)[step]) % len(options)]
