"""Objects of generated works as an annotator would mark them: boxes, outlines, areas."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roadwork.data.scenes.canvas import SHADOW_OF_WORKS
from roadwork.data.scenes.formats.plan import Shot

__all__ = ["VisibleObject", "visible_objects"]

_FEWEST_PIXELS = 4  # as ``measure_works`` counts


@dataclass(frozen=True)
class VisibleObject:
    """What can be seen of one works object.

    Attributes:
        kind: key of the registry of drawing functions, such as ``cone``.
        mask: bool of the picture's shape: its visible pixels.
    """

    kind: str
    mask: NDArray[np.bool_]

    @property
    def area(self) -> int:
        """Visible pixels."""
        return int(self.mask.sum())

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, width and height in pixels of the smallest box around them."""
        rows = np.flatnonzero(self.mask.any(axis=1))
        columns = np.flatnonzero(self.mask.any(axis=0))
        return (
            int(columns[0]),
            int(rows[0]),
            int(columns[-1] - columns[0] + 1),
            int(rows[-1] - rows[0] + 1),
        )

    @property
    def interrupted(self) -> bool:
        """Whether something in front cuts it into an upper and a lower part."""
        return int(self.mask.any(axis=1).sum()) < self.box[3]

    @property
    def outline(self) -> list[float]:
        """Polygon x, y, x, y … along the left ends of all rows and back along the right ends."""
        left: list[float] = []
        right: list[float] = []
        for row in np.flatnonzero(self.mask.any(axis=1)):
            columns = np.flatnonzero(self.mask[row])
            first, last, top = float(columns[0]), float(columns[-1] + 1), float(row)
            left += [first, top, first, top + 1]
            right = [last, top + 1, last, top, *right]
        return left + right


def visible_objects(shot: Shot) -> list[VisibleObject]:
    """Every works object of a picture with at least four visible pixels."""
    instances = shot.frame.instances
    return [
        VisibleObject(shot.scene.zone[int(number) - 1].kind, instances == number)
        for number in np.unique(instances)
        if number not in (0, SHADOW_OF_WORKS) and (instances == number).sum() >= _FEWEST_PIXELS
    ]
