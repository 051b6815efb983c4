"""Generated scenes in the form of NATIX ``natix-network-org/roadwork`` on Hugging Face.

Parquet shards ``data/train-000NN-of-000MM.parquet`` and ``data/test-…`` with the published columns
in their order and types, the JPEGs embedded, and the features in the schema's ``huggingface`` key.
As in the real data, positives carry all metadata and negatives none, and frames of CMU ROADWork are
among the positives.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from roadwork.data.scenes import SceneSettings
from roadwork.data.scenes.faults import near_duplicate
from roadwork.data.scenes.formats.plan import (
    ROADWORK_IMAGES,
    CopyKind,
    PlantedCopy,
    Shot,
    WrittenPlan,
    WrittenRow,
    drives_of,
    further_drives,
    roadwork_shots,
    shots_of,
    stream_of,
    works_shots,
)
from roadwork.data.sources.natix import gps_cell
from roadwork.errors import ConfigError

__all__ = ["SCHEMA", "Overlap", "huggingface_schema", "write_natix"]

SCHEMA = pa.schema(
    [
        ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        ("id", pa.int64()),
        ("width", pa.int64()),
        ("height", pa.int64()),
        ("license", pa.int64()),
        ("flickr_url", pa.float64()),
        ("coco_url", pa.float64()),
        ("date_captured", pa.int64()),
        ("gps", pa.string()),
        ("city_name", pa.string()),
        ("scene_description", pa.string()),
        ("video_info.frame_id", pa.string()),
        ("video_info.seq_id", pa.int64()),
        ("video_info.vid_id", pa.string()),
        ("scene_level_tags.daytime", pa.string()),
        ("scene_level_tags.scene_environment", pa.string()),
        ("scene_level_tags.travel_alteration", pa.string()),
        ("scene_level_tags.weather", pa.string()),
        ("label", pa.int64()),
    ]
)
"""Columns as the data set's card lists them; the dots are part of the names."""

_NEGATIVES = 1134 / 7415  # a positive, as counted in the published rows
_ROWS_IN_A_GROUP = 8
_TEST_DRIVES = 4  # every fourth drive is in the published test split
_SLICES = ("time_of_day", "weather", "environment", "city")


@dataclass(frozen=True)
class Overlap:
    """How many of CMU ROADWork's frames are repeated, by what is left to know them by.

    Attributes:
        capture: encoded again at another quality, with video, sequence and frame.
        content: equal bytes, without video information and position.
        same: equal bytes, with video, sequence and frame; planned as ``content``.
        near: smaller and encoded again, without video information.
    """

    capture: int = 0
    content: int = 0
    same: int = 0
    near: int = 0


@dataclass(frozen=True)
class _Entry:
    """A row to write, and what a loader must make of it but for its name."""

    shot: Shot
    jpeg: bytes
    cells: dict[str, Any]
    row: WrittenRow
    kind: CopyKind | None = None


def write_natix(
    root: Path,
    settings: SceneSettings,
    overlap: Overlap | None = None,
    *,
    shards: int = 2,
    source: str = "natix",
) -> WrittenPlan:
    """Write ``data/train-*`` and ``data/test-*`` below ``root``.

    Positives are the frames of ``natix-like`` drives with visible works. Negatives come from
    further drives, one frame each, because the format cannot say which of them belong together.
    All rows are held in memory until they are written. The same settings give the same bytes.

    Args:
        root: folder to write into; made when absent.
        settings: what to draw.
        overlap: frames of ``roadwork-like`` drives to repeat; needs as many frames. None: an
            eighth of the frames in each way.
        shards: Parquet files of the train split; the test split has a quarter as many.
        source: name of the source in the plan.

    Returns:
        Every row, and every repeated frame with its counterpart in ``cmu_roadwork``.

    Raises:
        ConfigError: the settings give too few rows to fill the shards, or fewer frames of ROADWork
            than ``overlap`` needs.
    """
    entries = list(_positives(settings, source))
    entries += _negatives(settings, source, max(1, round(len(entries) * _NEGATIVES)))
    entries += _repeated(settings, source, overlap)
    order = stream_of(settings, 1).permutation(len(entries))
    (root / "data").mkdir(parents=True, exist_ok=True)
    rows: list[WrittenRow] = []
    copies: list[PlantedCopy] = []
    for split, files in (("train", shards), ("test", max(1, shards // _TEST_DRIVES))):
        part = [entries[i] for i in order if _split_of(entries[i]) == split]
        if len(part) < files:
            raise ConfigError(
                f"{len(part)} rows for {files} {split} shards: ask for more drives or fewer shards"
            )
        for number in range(files):
            name = f"data/{split}-{number:05d}-of-{files:05d}.parquet"
            chunk = part[len(part) * number // files : len(part) * (number + 1) // files]
            _write_shard(root / name, chunk, len(rows))
            for place, entry in enumerate(chunk):
                file = f"{name}#row={place}"
                group = entry.row.group or f"{source}/{file}"
                rows.append(replace(entry.row, file=file, group=group))
                if entry.kind is not None:
                    original = f"{ROADWORK_IMAGES}/{entry.shot.roadwork_name}"
                    copies.append(
                        PlantedCopy(entry.kind, ("cmu_roadwork", original), (source, file))
                    )
    return WrittenPlan(tuple(rows), tuple(copies))


def huggingface_schema() -> pa.Schema:
    """The schema with the features by which ``datasets`` decodes images."""
    words = {pa.int64(): "int64", pa.float64(): "float64", pa.string(): "string"}
    features: dict[str, Any] = {
        field.name: {"dtype": words[field.type], "_type": "Value"}
        for field in SCHEMA
        if field.name != "image"
    }
    features = {"image": {"_type": "Image"}, **features}
    return SCHEMA.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def _positives(settings: SceneSettings, source: str) -> Iterator[_Entry]:
    for drive in drives_of(settings, "natix-like"):
        for shot in works_shots(settings, drive):
            yield _entry(shot, shot.jpeg, source)


def _negatives(settings: SceneSettings, source: str, count: int) -> Iterator[_Entry]:
    for drive in islice(further_drives(settings, "natix-like"), count):
        shot = next(iter(shots_of(settings, drive, False)))
        row = WrittenRow(source, "", 0, drive.group_id, "", slices=dict.fromkeys(_SLICES))
        yield _Entry(shot, shot.jpeg, {}, row)


def _repeated(settings: SceneSettings, source: str, overlap: Overlap | None) -> Iterator[_Entry]:
    shots = list(roadwork_shots(settings)) if overlap != Overlap() else []
    eighth = len(shots) // 8
    overlap = overlap or Overlap(eighth, eighth, eighth, eighth)
    wanted = [how for how in _REPEATS for _ in range(getattr(overlap, how))]
    if len(shots) < len(wanted):
        raise ConfigError(
            f"{settings.drives} drives give {len(shots)} frames of ROADWork and {len(wanted)} are "
            "to be repeated: ask for more drives"
        )
    chosen = stream_of(settings, 2).permutation(len(shots))[: len(wanted)]
    for index, how in zip(chosen, wanted, strict=True):
        yield _REPEATS[how](shots[int(index)], source)


def _entry(shot: Shot, jpeg: bytes, source: str) -> _Entry:
    cells = {
        "gps": str(list(shot.gps)),
        "city_name": shot.city,
        "scene_description": shot.description,
        "video_info.frame_id": shot.frame_id,
        "video_info.seq_id": shot.seq,
        "video_info.vid_id": shot.vid or None,
        "scene_level_tags.daytime": shot.daytime,
        "scene_level_tags.scene_environment": shot.environment,
        "scene_level_tags.travel_alteration": str([shot.travel_alteration]),
        "scene_level_tags.weather": str([shot.weather]),
    }
    values = (shot.daytime, shot.weather, shot.environment, shot.city)
    row = WrittenRow(
        source=source,
        file="",
        label=1,
        drive=shot.drive.group_id,
        group=shot.group,
        capture=shot.capture,
        slices=dict(zip(_SLICES, values, strict=True)),
    )
    return _Entry(shot, jpeg, cells, row)


def _nameless(entry: _Entry, gps: bool) -> _Entry:
    """The entry without video information: known by its place, or not at all."""
    hidden = ("video_info.frame_id", "video_info.seq_id", "video_info.vid_id")
    cells = {key: value for key, value in entry.cells.items() if key not in hidden}
    if not gps:
        cells["gps"] = None
    group = gps_cell(*entry.shot.gps) if gps else ""
    return replace(entry, cells=cells, row=replace(entry.row, group=group, capture=None))


def _encoded_again(jpeg: bytes) -> bytes:
    """The same picture at JPEG quality 60."""
    out = io.BytesIO()
    with Image.open(io.BytesIO(jpeg)) as image:
        image.save(out, "JPEG", quality=60)
    return out.getvalue()


def _by_capture(shot: Shot, source: str) -> _Entry:
    return replace(_entry(shot, _encoded_again(shot.jpeg), source), kind="capture")


def _by_content(shot: Shot, source: str) -> _Entry:
    return replace(_nameless(_entry(shot, shot.jpeg, source), gps=False), kind="content")


def _same(shot: Shot, source: str) -> _Entry:
    return replace(_entry(shot, shot.jpeg, source), kind="content")


def _near(shot: Shot, source: str) -> _Entry:
    return replace(
        _nameless(_entry(shot, near_duplicate(shot.jpeg), source), gps=True), kind="near"
    )


_REPEATS: Mapping[str, Callable[[Shot, str], _Entry]] = {
    "capture": _by_capture,
    "content": _by_content,
    "same": _same,
    "near": _near,
}
"""How a frame of ROADWork is repeated, by the name of its count in :class:`Overlap`."""


def _split_of(entry: _Entry) -> str:
    return "test" if entry.shot.drive.index % _TEST_DRIVES == 0 else "train"


def _write_shard(path: Path, entries: Sequence[_Entry], first: int) -> None:
    rows = []
    for number, entry in enumerate(entries, start=first):
        with Image.open(io.BytesIO(entry.jpeg)) as image:
            width, height = image.size
        rows.append(
            {
                "image": {"bytes": entry.jpeg, "path": f"image_{number}.jpg"},
                "id": number,
                "width": width,
                "height": height,
                "license": 0,
                "date_captured": 0,
                "label": entry.row.label,
                **entry.cells,
            }
        )
    table = pa.Table.from_pylist(rows, schema=huggingface_schema())
    pq.write_table(table, path, row_group_size=_ROWS_IN_A_GROUP)
