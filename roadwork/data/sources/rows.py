"""The row that every source gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["SourceRow", "parse_label"]

_LABELS: Mapping[str, int] = {
    "0": 0,
    "1": 1,
    "none": 0,
    "no_roadwork": 0,
    "roadwork": 1,
    "false": 0,
    "true": 1,
}


@dataclass(frozen=True)
class SourceRow:
    """One photograph as its source describes it.

    Attributes:
        path: where the encoded image is.
        file: short name shown to people.
        label: class index, or None where the source gives none.
        group: name of the drive, clip or place; images of one group are never separated.
        source: name of the source or camera family.
        slices: descriptive columns; absent or None where unknown.
    """

    path: Path
    file: str
    label: int | None
    group: str
    source: str
    slices: Mapping[str, str | None] = field(default_factory=dict)


def parse_label(text: str | None) -> int | None:
    """Class index of a label as written in a file; None if it is empty or unknown."""
    return _LABELS.get((text or "").strip().lower())
