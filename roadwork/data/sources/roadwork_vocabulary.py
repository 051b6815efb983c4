"""Words of CMU ROADWork: which categories are works, and what file names say.

The number of a category differs between the annotation files (49 categories, ids 1-17 and 19-50)
and the data set's own example code (Cone is 4 there), so categories are known by name alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from roadwork.data.sources.capture import PITTSBURGH

__all__ = ["Meaning", "Named", "meaning_of", "parse_name", "segment_of"]


class Meaning(StrEnum):
    """What a category says about works."""

    WORKS = "works"
    CONTEXT = "context"
    UNKNOWN = "unknown"


_WORKS = frozenset(
    {
        "arrow board",
        "barricade",
        "barrier",
        "cone",
        "drum",
        "fence",
        "other roadwork objects",
        "temporary traffic control message board",
        "temporary traffic control sign",
        "ttc message board",
        "ttc sign",
        "tubular marker",
        "vertical panel",
        "work equipment",
        "work vehicle",
        "worker",
    }
)
_CONTEXT = frozenset({"bike lane", "police officer", "police vehicle", "road", "sidewalk"})
_SIGNS = ("ttc sign:", "temporary traffic control sign:")

_SEGMENTS: Mapping[str, int] = {
    "arrow board": 18,
    "barricade": 7,
    "barrier": 6,
    "cone": 13,
    "drum": 14,
    "fence": 8,
    "temporary traffic control sign": 19,
    "ttc sign": 19,
    "tubular marker": 16,
    "vertical panel": 15,
    "work equipment": 17,
    "work vehicle": 10,
    "worker": 12,
}


def meaning_of(category: str) -> Meaning:
    """What a category says about works; ``TTC Sign: <kind>`` is works whatever the kind."""
    name = category.strip().lower()
    if name in _WORKS or name.startswith(_SIGNS):
        return Meaning.WORKS
    return Meaning.CONTEXT if name in _CONTEXT else Meaning.UNKNOWN


def segment_of(category: str) -> int | None:
    """Id of a works category in the ``*_labelIds.png`` files; None for those that have none.

    Of the other ids, 0 is unlabelled, 1 to 5 are ground, 9 and 11 are police.
    """
    name = category.strip().lower()
    return _SEGMENTS["ttc sign"] if name.startswith(_SIGNS) else _SEGMENTS.get(name)


@dataclass(frozen=True)
class Named:
    """What the name of a file says."""

    city: str
    vid: str
    seq: str
    frame: str


_PITTSBURGH_NAME = re.compile(rf"^{PITTSBURGH}(?P<seq>[0-9a-z-]+)_(?P<frame>\d+)$", re.IGNORECASE)
_OTHER_NAME = re.compile(
    r"^(?P<city>.+)_(?P<one>[0-9a-f]+)_(?P<two>[0-9a-f]+)_(?P<frame>\d+)$", re.IGNORECASE
)


def parse_name(file_name: str) -> Named | None:
    """City, video, sequence and frame of a file's name; None if it follows neither pattern.

    Pittsburgh's own images are ``pgh<seq>_<frame>.jpg``. The others are
    ``<city>_<vid>_<seq>_<frame>.jpg`` on disk, while the README gives
    ``<city>_<seq>_<vid>_<frame>.jpg``: both are read, since the video's name (32 hexadecimal
    digits) is longer than the sequence's number. Of two equally long ones the first is the video.
    """
    stem = file_name.rsplit("/", 1)[-1].rsplit(".", 1)[0]
    found = _PITTSBURGH_NAME.match(stem)
    if found is not None:
        return Named("pittsburgh", PITTSBURGH, found["seq"], found["frame"])
    found = _OTHER_NAME.match(stem)
    if found is None:
        return None
    vid, seq = found["one"], found["two"]
    if len(seq) > len(vid):
        vid, seq = seq, vid
    return Named(found["city"], vid, seq, found["frame"])
