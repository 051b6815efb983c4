"""Category lists of CMU ROADWork's annotation files, which disagree about order and words.

The names of sign kinds (``TTC Sign: …``) are ours: that there are 32, with these ids, is published.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["OF_WORKS", "PLAIN", "REORDERED", "SEGMENT_OF_WORKS", "SIGN_KINDS", "WITH_SIGNS"]

PLAIN: tuple[tuple[int, str], ...] = (
    (1, "Police Officer"),
    (2, "Police Vehicle"),
    (3, "Cone"),
    (4, "Fence"),
    (5, "Drum"),
    (6, "Barricade"),
    (7, "Barrier"),
    (8, "Work Vehicle"),
    (9, "Vertical Panel"),
    (10, "Tubular Marker"),
    (11, "Arrow Board"),
    (12, "Bike Lane"),
    (13, "Work Equipment"),
    (14, "Worker"),
    (15, "Other Roadwork Objects"),
    (16, "TTC Message Board"),
    (17, "TTC Sign"),
)
"""Categories 1 to 17."""

SIGN_KINDS: tuple[str, ...] = (
    "road work ahead",
    "workers",
    "left arrow",
    "right arrow",
    "double arrow",
    "left chevron",
    "right chevron",
    "lane shift left",
    "lane shift right",
    "merge left",
    "merge right",
    "left lane closed",
    "right lane closed",
    "road closed",
    "road closed ahead",
    "road closed to thru traffic",
    "bridge closed",
    "sidewalk closed",
    "pedestrian detour",
    "bike lane closed",
    "detour",
    "detour left",
    "detour right",
    "end detour",
    "end road work",
    "flagger",
    "one lane road ahead",
    "be prepared to stop",
    "speed limit",
    "uneven lanes",
    "bump",
    "no parking",
)

WITH_SIGNS: tuple[tuple[int, str], ...] = (
    *PLAIN,
    *((19 + number, f"TTC Sign: {kind}") for number, kind in enumerate(SIGN_KINDS)),
)
"""49 categories with the ids 1 to 17 and 19 to 50; there is no 18."""

REORDERED: tuple[tuple[int, str], ...] = tuple(
    enumerate(
        (
            "Police Officer",
            "Police Vehicle",
            "Sidewalk",
            "Cone",
            "Fence",
            "Drum",
            "Barricade",
            "Barrier",
            "Work Vehicle",
            "Vertical Panel",
            "Tubular Marker",
            "Arrow Board",
            "Temporary Traffic Control Message Board",
            "Road",
            "Bike Lane",
            "Temporary Traffic Control Sign",
            "Work Equipment",
            "Worker",
            "Other Roadwork Objects",
        ),
        start=1,
    )
)
"""The list of the data set's example code, where Cone is 4 and two names are written out."""

OF_WORKS: Mapping[str, str] = {
    "arrow board": "Arrow Board",
    "barricade": "Barricade",
    "barrier": "Barrier",
    "cone": "Cone",
    "drum": "Drum",
    "excavator": "Work Equipment",
    "fence": "Fence",
    "heap": "Other Roadwork Objects",
    "patch": "Other Roadwork Objects",
    "pedestrian barrier": "Barricade",
    "roller": "Work Equipment",
    "tubular marker": "Tubular Marker",
    "vertical panel": "Vertical Panel",
    "work truck": "Work Vehicle",
    "worker": "Worker",
    "works sign": "TTC Sign",
}
"""Category of each kind of thing that stands in generated works."""

SEGMENT_OF_WORKS: Mapping[str, int] = {
    "Arrow Board": 18,
    "Barricade": 7,
    "Barrier": 6,
    "Cone": 13,
    "Drum": 14,
    "Fence": 8,
    "Tubular Marker": 16,
    "TTC Sign": 19,
    "Vertical Panel": 15,
    "Work Equipment": 17,
    "Work Vehicle": 10,
    "Worker": 12,
}
"""Id in the label PNGs, which have none for other roadwork objects and message boards."""
