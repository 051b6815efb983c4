"""The row that every source gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["SourceRow", "Verdict", "parse_label"]

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
class Verdict:
    """Why a source does not offer a row for use.

    Attributes:
        reason: short code, such as ``unknown_category``; counted in reports.
        detail: one sentence for people: what is wrong and what to do.
        fault: True for damage (counts against ``data.max_quarantine_share``), False for rows left
            out on purpose, such as ambiguous labels.
    """

    reason: str
    detail: str
    fault: bool = True


@dataclass(frozen=True)
class SourceRow:
    """One photograph as its source describes it.

    Attributes:
        uri: address of the encoded image (:mod:`roadwork.data.storage`).
        file: short name shown to people, unique within the source.
        label: class index, or None where the source gives none.
        group: name of the drive, clip or place; images of one group are never separated.
        source: name of the source or camera family.
        slices: descriptive columns; absent or None where unknown.
        capture: ``video/sequence/frame`` where known: equal captures are one photograph, however
            often and in whichever form it was published.
        verdict: set where the row is not offered for use.
    """

    uri: str
    file: str
    label: int | None
    group: str
    source: str
    slices: Mapping[str, str | None] = field(default_factory=dict)
    capture: str | None = None
    verdict: Verdict | None = None


def parse_label(text: str | None) -> int | None:
    """Class index of a label as written in a file; None if it is empty or unknown."""
    return _LABELS.get((text or "").strip().lower())
