"""People: passers-by and workers share a body, so that only clothes and tools tell them apart."""

from __future__ import annotations

from roadwork.data.scenes.canvas import Face
from roadwork.data.scenes.conditions import Colour
from roadwork.data.scenes.props import pick

__all__ = ["draw_person"]

SKIN: tuple[Colour, ...] = ((224, 182, 152), (176, 128, 96), (120, 82, 62), (200, 154, 122))
LEGS: tuple[Colour, ...] = ((42, 48, 66), (60, 58, 54), (34, 34, 38), (92, 86, 74))
HELMETS: tuple[Colour, ...] = ((240, 240, 236), (246, 204, 40), (238, 124, 32), (60, 110, 190))
SILVER: Colour = (226, 230, 226)


def draw_person(face: Face, variant: int, jacket: Colour, role: str) -> None:
    """Draw somebody 1.75 m tall.

    Args:
        face: Plane at the feet.
        variant: Decides stance, skin and trousers.
        jacket: Colour of the upper body.
        role: ``worker`` adds a hi-vis vest with bands, a helmet and sometimes a shovel.
    """
    worker = role == "worker"
    stride = 0.08 + 0.05 * (variant % 4)
    legs = pick(LEGS, variant, 1)
    skin = pick(SKIN, variant, 2)
    face.cast(0.25, 1.7)
    for foot in (-stride, stride):
        face.polygon(
            (
                (foot - 0.08, 0),
                (foot + 0.08, 0),
                (0.06 + foot * 0.3, 0.85),
                (-0.1 + foot * 0.3, 0.85),
            ),
            legs if not worker or variant % 3 else jacket,
        )
        if worker:
            face.box(foot - 0.1, 0.3, foot + 0.1, 0.37, SILVER, retro=1.0)
    reach = 0.3 if variant % 2 else 0.14
    face.polygon(
        ((-0.24, 1.4), (-0.14, 1.44), (-0.2 - reach * 0.5, 0.85), (-0.3 - reach * 0.5, 0.9)),
        jacket,
        0.85,
    )
    face.polygon(((0.24, 1.4), (0.14, 1.44), (0.2 + reach, 0.95), (0.3 + reach, 1.0)), jacket, 0.85)
    face.polygon(((-0.2, 0.8), (0.2, 0.8), (0.25, 1.42), (-0.25, 1.42)), jacket)
    face.disc(0.0, 1.58, 0.11, 0.14, skin)
    if not worker:
        face.disc(0.0, 1.66, 0.11, 0.08, pick(((40, 32, 28), (92, 70, 46), (20, 20, 22)), variant))
        return
    face.box(-0.22, 0.93, 0.22, 1.01, SILVER, retro=1.0)
    face.box(-0.235, 1.15, 0.235, 1.22, SILVER, retro=1.0)
    face.box(-0.16, 1.15, -0.1, 1.42, SILVER, retro=1.0)
    face.box(0.1, 1.15, 0.16, 1.42, SILVER, retro=1.0)
    helmet = pick(HELMETS, variant, 2)
    face.disc(0.0, 1.68, 0.15, 0.12, helmet, 1.05)
    face.box(-0.18, 1.63, 0.18, 1.67, helmet, 0.9)
    if variant % 5 < 2:
        face.line(((0.45, 0.02), (0.4, 1.35)), 0.05, (150, 112, 70))
        face.polygon(((0.36, 0.0), (0.54, 0.0), (0.5, 0.28), (0.4, 0.28)), (86, 88, 92))
