"""Drives: which source, which street, where the works are, and what every frame shows.

A drive is mostly one situation. Four kinds exist: ``works`` (every frame passes works), ``clear``
(none does), ``mixed`` (works come into view or are left behind) and ``paired`` (every frame exists
with and without works). Kinds follow a golden-ratio sequence for each source, so that even a few
drives come close to the source's prior, and drive ``i`` never depends on how many are asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from roadwork.data.scenes.camera import SOURCES, Source

__all__ = ["FAR_AWAY", "Drive", "FramePlan", "frame_seed", "plan_drive"]

GOLDEN = 0.6180339887498949
MIXED_SHARE = 0.22
PAIRED_SHARE = 0.12
FAR_AWAY = 140.0
"""Distance in metres beyond which works are out of sight."""


@dataclass(frozen=True)
class FramePlan:
    """One frame: where the camera is, and which versions of the frame are written.

    Attributes:
        number: Frame number in its drive.
        travelled: Position along the street in metres.
        works: The versions to write: ``(True,)``, ``(False,)``, or both in either order.
    """

    number: int
    travelled: float
    works: tuple[bool, ...]


@dataclass(frozen=True)
class Drive:
    """One drive.

    Attributes:
        index: Number of the drive.
        group_id: Its name.
        source: Camera family.
        kind: ``works``, ``clear``, ``mixed`` or ``paired``.
        zone_start: Where works begin (or would begin) along the street in metres.
        zone_reach: Their length in metres.
        length: Length of the street in metres.
        frames: What to write.
    """

    index: int
    group_id: str
    source: Source
    kind: str
    zone_start: float
    zone_reach: float
    length: float
    frames: tuple[FramePlan, ...]


def frame_seed(seed: int, drive: int, frame: int, stream: int) -> np.random.SeedSequence:
    """Randomness of one purpose in one frame; frame numbers are stored from 1, 0 is the drive."""
    return np.random.SeedSequence([seed, drive, frame, stream])


def kind_of(seed: int, source: Source, turn: int, prior: float) -> str:
    """Kind of a source's drive number ``turn``, so that the prior is met on average."""
    mixed_positive = min(0.6, max(0.4, prior))
    works = prior - MIXED_SHARE * mixed_positive - PAIRED_SHARE * 0.5
    offset = np.random.default_rng([seed, SOURCES.index(source), 0xD01]).uniform()
    place = (offset + turn * GOLDEN) % 1.0
    if place < works:
        return "works"
    if place < works + MIXED_SHARE:
        return "mixed"
    if place < works + MIXED_SHARE + PAIRED_SHARE:
        return "paired"
    return "clear"


def plan_drive(seed: int, index: int, frames: tuple[int, int], prior: float | None = None) -> Drive:
    """Plan drive ``index``.

    Args:
        seed: Root of all randomness.
        index: Number of the drive, from 0.
        frames: Fewest and most images of a drive.
        prior: Share of images with works; None: that of the drive's source.
    """
    block, place = divmod(index, len(SOURCES))
    order = np.random.default_rng([seed, block, 0xB10C]).permutation(len(SOURCES))
    source = SOURCES[int(order[place])]
    prior = source.prior if prior is None else prior
    kind = kind_of(seed, source, block, prior)
    rng = np.random.default_rng(frame_seed(seed, index, 0, 1))
    images = int(rng.integers(frames[0], frames[1] + 1))
    count = max(1, (images + 1) // 2) if kind == "paired" else images
    far = rng.random() < 0.25
    distance = float(rng.uniform(26.0, 48.0) if far else rng.uniform(11.0, 23.0))
    positive = count
    if kind == "mixed":
        share = min(0.6, max(0.4, prior)) + rng.uniform(-0.12, 0.12)
        positive = min(count, max(1, round(share * count)))
    approach = bool(rng.random() < 0.6)
    # The car stops before the first channeliser: it could not drive through a closed lane.
    step = min(float(rng.uniform(0.8, 3.5)), (distance - 6.0) / positive)
    reach = float(rng.uniform(20.0, 42.0))

    # Positive frames run towards and into the zone; the others of a mixed drive are far from it.
    clear = count - positive
    before = clear if approach else 0
    zone_start = before * step + (FAR_AWAY if before else 0.0) + distance
    travelled: list[float] = [i * step for i in range(before)]
    travelled += [zone_start - distance + i * step for i in range(positive)]
    if not approach:
        travelled += [zone_start + reach + 25.0 + i * step for i in range(clear)]
    versions: list[tuple[bool, ...]]
    if kind == "paired":
        versions = [(True, False) if rng.random() < 0.5 else (False, True) for _ in range(count)]
    else:
        versions = [(kind != "clear",)] * count
    plans = tuple(
        FramePlan(number, place_on_street, works)
        for number, (place_on_street, works) in enumerate(zip(travelled, versions, strict=True))
    )
    return Drive(
        index=index,
        group_id=f"drive-{index:05d}",
        source=source,
        kind=kind,
        zone_start=zone_start,
        zone_reach=reach,
        length=max(travelled) + 170.0,
        frames=plans,
    )
