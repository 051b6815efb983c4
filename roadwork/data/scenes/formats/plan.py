"""What a format writer wrote, and which frames of which drives every format shows.

All formats are cut from one :class:`~roadwork.data.scenes.SceneSettings`: a drive belongs to one
camera family, and a family to one format (``natix-like`` to NATIX, ``roadwork-like`` to CMU
ROADWork, ``vistas-like`` to Mapillary Vistas). NATIX contains ROADWork, so its writer shows frames
of ``roadwork-like`` drives again: what both write (names, places, words, JPEG bytes) is decided
here. ``faults`` and ``label_noise`` of the settings belong to ``scenes.csv`` and are not used.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import count
from typing import Any, Literal, Self

import numpy as np

from roadwork.data.scenes import SceneSettings
from roadwork.data.scenes.drives import Drive, FramePlan, frame_seed, plan_drive
from roadwork.data.scenes.scene import Frame, Scene, sample_scene
from roadwork.data.scenes.writer import render_version
from roadwork.data.sources.capture import PITTSBURGH, capture_of, sequence_group

__all__ = [
    "ROADWORK_IMAGES",
    "CopyKind",
    "PlantedCopy",
    "Shot",
    "WrittenPlan",
    "WrittenRow",
    "drives_of",
    "further_drives",
    "roadwork_shots",
    "scene_of",
    "shots_of",
    "stream_of",
    "works_shots",
]

CopyKind = Literal["capture", "content", "near"]

ROADWORK_IMAGES = "scene/images"
"""Folder of CMU ROADWork's images; its rows are named ``scene/images/<file_name>``."""

_FRAMES_APART = 30  # frame numbers of two pictures of a sequence, as the published names have it
_METRES_A_DEGREE = 111_320.0
_CITIES: Mapping[str, tuple[float, float]] = {
    "boston": (42.36, -71.06),
    "charlotte": (35.23, -80.84),
    "chicago": (41.88, -87.63),
    "columbus": (39.96, -83.0),
    "denver": (39.74, -104.99),
    "indianapolis": (39.77, -86.16),
    "minneapolis": (44.98, -93.27),
    "phoenix": (33.45, -112.07),
    "pittsburgh": (40.44, -80.0),
    "seattle": (47.61, -122.33),
}


@dataclass(frozen=True)
class WrittenRow:
    """One row that a loader must give back.

    Attributes:
        source: name of the source: ``natix``, ``cmu_roadwork`` or ``mapillary``.
        file: the row's name in that source (``SourceRow.file``).
        label: true class index; None where the format's rule cannot decide.
        drive: the street that it shows: rows of one drive must not be separated.
        group: group that the loader can know from the format alone.
        capture: ``video/sequence/frame``, or None where the format does not tell.
        slices: descriptive columns that the format tells.
        left_out: reason of the verdict with which the loader must leave it out; None: offered.
    """

    source: str
    file: str
    label: int | None
    drive: str
    group: str
    capture: str | None = None
    slices: Mapping[str, str | None] = field(default_factory=dict)
    left_out: str | None = None


@dataclass(frozen=True)
class PlantedCopy:
    """One photograph that was written twice on purpose.

    Attributes:
        kind: what gives it away first: ``content`` (equal bytes), ``capture`` (equal video,
            sequence and frame, other bytes) or ``near`` (encoded again, capture not told).
        original: source and file of the first.
        copy: source and file of the second.
    """

    kind: CopyKind
    original: tuple[str, str]
    copy: tuple[str, str]


@dataclass(frozen=True)
class WrittenPlan:
    """Everything that was written, and everything that was written twice."""

    rows: tuple[WrittenRow, ...]
    copies: tuple[PlantedCopy, ...] = ()

    def __add__(self, other: WrittenPlan) -> WrittenPlan:
        """The plan of both."""
        return WrittenPlan(self.rows + other.rows, self.copies + other.copies)

    def copies_of(self, kind: CopyKind) -> tuple[PlantedCopy, ...]:
        """The planted copies of one kind."""
        return tuple(copy for copy in self.copies if copy.kind == kind)

    def to_json(self) -> dict[str, Any]:
        """The plan in JSON's types."""
        return asdict(self)

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> Self:
        """The plan that :meth:`to_json` gave, also after a round trip through text."""
        return cls(
            tuple(WrittenRow(**row) for row in tree["rows"]),
            tuple(
                PlantedCopy(one["kind"], tuple(one["original"]), tuple(one["copy"]))
                for one in tree["copies"]
            ),
        )


@dataclass(frozen=True)
class Shot:
    """One rendered frame of a drive, as a camera of its family would have saved it.

    Attributes:
        settings: what the drive was planned from.
        drive: the drive.
        plan: number and place of the frame.
        scene: what all frames of the drive share.
        frame: the picture, and what is true of it.
        jpeg: the picture as the family encodes it.
    """

    settings: SceneSettings
    drive: Drive
    plan: FramePlan
    scene: Scene
    frame: Frame
    jpeg: bytes

    @property
    def label(self) -> int:
        """1 if works are visible."""
        return int(self.frame.works_count > 0)

    @property
    def city(self) -> str:
        """Name of the city in lower case; empty for families that tell none."""
        return self.scene.city

    @property
    def vid(self) -> str:
        """32 hexadecimal digits; empty in Pittsburgh, whose file names know no video."""
        if self.city == "pittsburgh":
            return ""
        name = f"{self.settings.seed}:{self.drive.group_id}"
        return hashlib.sha256(name.encode()).hexdigest()[:32]

    @property
    def seq(self) -> int:
        """Number of the sequence: that of the drive."""
        return self.drive.index

    @property
    def frame_id(self) -> str:
        """Name of the frame's file, such as ``00030.jpg``."""
        return f"{self.plan.number * _FRAMES_APART:05d}.jpg"

    @property
    def capture(self) -> str:
        """``video/sequence/frame`` as loaders spell it."""
        capture = capture_of(self.vid or PITTSBURGH, self.seq, self.frame_id)
        assert capture is not None  # all three parts are known here
        return capture

    @property
    def group(self) -> str:
        """Group of the sequence as loaders spell it."""
        group = sequence_group(self.vid or PITTSBURGH, self.seq)
        assert group is not None  # both parts are known here
        return group

    @property
    def roadwork_name(self) -> str:
        """CMU ROADWork's file name of the frame."""
        if not self.vid:
            return f"{PITTSBURGH}{self.seq:02d}_{self.frame_id}"
        return f"{self.city}_{self.vid}_{self.seq:06d}_{self.frame_id}"

    @property
    def gps(self) -> tuple[float, float]:
        """Latitude and longitude in degrees: drives lie kilometres apart, frames metres."""
        latitude, longitude = _CITIES[self.city]
        row, column = divmod(self.drive.index, 20)
        metres = self.plan.travelled
        return (
            round(latitude + 0.02 * (row % 20) + metres / _METRES_A_DEGREE, 8),
            round(longitude + 0.02 * column, 8),
        )

    @property
    def daytime(self) -> str:
        """``Light``, ``Twilight`` or ``Dark``."""
        return self.scene.conditions.time_name

    @property
    def weather(self) -> str:
        """ROADWork's word; it has none for fog, which becomes ``Unknown``."""
        name = self.scene.conditions.weather_name
        return "Unknown" if name == "Fog" else name

    @property
    def environment(self) -> str:
        """``Urban``, ``Suburban``, ``Highway`` or ``Rural``."""
        return self.scene.street.environment

    @property
    def travel_alteration(self) -> str:
        """ROADWork's word for what the works do to traffic."""
        return "Partially Blocked" if self.label else "None"

    @property
    def description(self) -> str:
        """A sentence about the works; empty where there are none."""
        works = f"Work zone in the street ({self.environment}): {self.frame.works_count} objects."
        return works if self.label else ""


def drives_of(settings: SceneSettings, family: str) -> Iterator[Drive]:
    """The drives of a camera family among those that the settings ask for."""
    planned = (
        plan_drive(settings.seed, i, settings.frames, settings.prior)
        for i in range(settings.drives)
    )
    return (drive for drive in planned if drive.source.name == family)


def further_drives(settings: SceneSettings, family: str) -> Iterator[Drive]:
    """Drives of a family beyond those that the settings ask for, without end."""
    planned = (
        plan_drive(settings.seed, i, settings.frames, settings.prior)
        for i in count(settings.drives)
    )
    return (drive for drive in planned if drive.source.name == family)


def scene_of(settings: SceneSettings, drive: Drive) -> Scene:
    """The scene of a drive, as ``scenes.csv`` has it."""
    return sample_scene(
        frame_seed(settings.seed, drive.index, 0, 0),
        drive.source,
        (settings.width, settings.height),
        drive.zone_start,
        drive.zone_reach,
        drive.length,
    )


def shots_of(settings: SceneSettings, drive: Drive, works: bool) -> Iterator[Shot]:
    """Every frame of a drive once, with or without works whatever the drive's plan.

    Works that are out of sight or too small to see are left out of the picture, so that a shot of
    ``works=True`` may still have label 0.
    """
    scene = scene_of(settings, drive)
    for plan in drive.frames:
        frame = render_version(drive, scene, plan, works, settings.seed)
        out = io.BytesIO()
        frame.image.save(out, "JPEG", quality=scene.sensor.quality)
        yield Shot(settings, drive, plan, scene, frame, out.getvalue())


def works_shots(settings: SceneSettings, drive: Drive) -> Iterator[Shot]:
    """Frames of a drive that show works, where its plan has them."""
    if any(True in plan.works for plan in drive.frames):
        shots = shots_of(settings, drive, True)
        yield from (shot for shot in shots if True in shot.plan.works and shot.label)


def roadwork_shots(settings: SceneSettings) -> Iterator[Shot]:
    """What CMU ROADWork shows: frames of ``roadwork-like`` drives with visible works."""
    for drive in drives_of(settings, "roadwork-like"):
        yield from works_shots(settings, drive)


def stream_of(settings: SceneSettings, purpose: int) -> np.random.Generator:
    """Randomness of one purpose of a format writer."""
    return np.random.default_rng([settings.seed, 0xF02A, purpose])
