"""Source: NATIX roadwork, in Hugging Face's Parquet shards or saved with ``datasets``.

The metadata columns are filled for photographs with roadwork and empty for (nearly) all others,
because the positives are CMU ROADWork's images and the negatives were added later. They betray the
label, so they become slices and groups alone and never an input of a model.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from roadwork.data.sources.capture import PITTSBURGH, capture_of, sequence_group
from roadwork.data.sources.natix_shards import (
    DamagedShard,
    Shard,
    find_shards,
    missing_shards,
    read_shard,
)
from roadwork.data.sources.root import IMAGE_SUFFIXES, digest_of_files, files_by_name, resolve_root
from roadwork.data.sources.rows import SourceRow, Verdict
from roadwork.data.sources.words import city_of, joined, word
from roadwork.data.storage import StoredFile
from roadwork.errors import DataError
from roadwork.settings import NatixSource

__all__ = ["Natix", "gps_cell"]

_SHARDS = (".parquet", ".arrow", ".json")
_COLUMNS = (
    "label",
    "gps",
    "city_name",
    "scene_description",
    "video_info.frame_id",
    "video_info.seq_id",
    "video_info.vid_id",
    "scene_level_tags.daytime",
    "scene_level_tags.scene_environment",
    "scene_level_tags.weather",
)
_CELL = 0.001  # degrees of latitude: 111 m
_LONGEST_LIST = 1000  # characters; far more than any published list has


class Natix:
    """Reads the metadata of ``natix-network-org/roadwork`` shard by shard, never the pictures.

    * A row's picture has the address ``shard.parquet#row=12`` (counted from 0 in its file).
    * ``capture`` is ``video/sequence/frame``; Pittsburgh's rows may name no video (see
      :data:`~roadwork.data.sources.capture.PITTSBURGH`).
    * The group is the sequence of the video, named as :class:`CmuRoadwork` names it. A row without
      video has the cell of about 111 m in which its GPS position lies, and without that a group of
      its own: fusion unites what looks alike. Neighbours on two sides of a cell's edge are told
      apart by the cell, so fusion's search for near-duplicates is needed for them too.
    * Words are ROADWork's (``Light``, ``Twilight``, ``Dark``; several words of weather are joined);
      what is not given stays None. The size of works is not known.
    * A row whose label and description disagree is left out on purpose, or kept, as
      ``disagreement`` says.

    Damage becomes a verdict that names shard and row; data of another form is an error.
    """

    def __init__(self, settings: NatixSource) -> None:
        """Check that the root exists; no shard is opened.

        Raises:
            ConfigError: it does not.
        """
        self.settings = settings
        self.root = resolve_root(settings.root)

    def fingerprint(self) -> str:
        """Hash of the settings and of every shard's name, size and stamp."""
        return digest_of_files(self.settings.model_dump_json(), self._listing())

    def rows(self) -> Iterator[SourceRow]:
        """Every row of every shard of the wanted splits.

        Raises:
            DataError: there are no shards, none of a wanted split, none that can be read, or a
                column is missing.
        """
        shards = self._shards()
        for shard in missing_shards(shards):
            yield self._broken(
                shard,
                "missing_shard",
                f"{shard.name} is not there, though the other shards' names promise it: fetch it",
            )
        readable = False
        damage = ""
        for shard in shards:
            count = 0
            try:
                for batch in read_shard(shard, _COLUMNS):
                    for row in batch.to_pylist():
                        yield self._row(shard, count, row)
                        count += 1
                readable = True
                if not count:
                    yield self._broken(
                        shard, "empty_shard", f"{shard.name} has no rows: fetch it again"
                    )
            except DamagedShard as error:
                readable = readable or count > 0
                rest = f" from row {count} on" if count else ""
                damage = f"{shard.name} cannot be read{rest}: {error}"
                yield self._broken(shard, "damaged_shard", damage)
        if not readable:
            raise DataError(
                f"none of the {len(shards)} shards of {self.root} can be read: {damage}"
            )

    def _listing(self) -> dict[str, StoredFile]:
        return files_by_name(self.root, _SHARDS)

    def _shards(self) -> list[Shard]:
        found = find_shards(self._listing())
        if not found:
            raise DataError(self._nothing_found())
        wanted = self.settings.splits
        splits = {shard.split for shard in found}
        absent = [split for split in wanted if split not in splits]
        if absent and splits != {None}:
            known = ", ".join(sorted(split for split in splits if split))
            raise DataError(
                f"{self.root} has no shard of the split {', '.join(absent)} (it has: {known}): "
                "fetch it, or name the splits that you have in data.sources.splits (kind: natix)"
            )
        # What names no split is one data set saved by itself, or a file put there by hand.
        return [shard for shard in found if shard.split is None or shard.split in wanted]

    def _nothing_found(self) -> str:
        message = (
            f"no shards of NATIX below {self.root}: looked for data/train-*.parquet and "
            "data/test-*.parquet, and for a folder written by datasets' save_to_disk (state.json). "
            "Correct data.sources.root (kind: natix), or fetch them: `roadwork data fetch natix`"
        )
        images = files_by_name(self.root, IMAGE_SUFFIXES)
        if images:
            message += (
                f". There are {len(images)} loose images ({next(iter(images))}, …): those are read "
                "by kind: image_folder"
            )
        return message

    def _broken(self, shard: Shard, reason: str, detail: str) -> SourceRow:
        name = self.settings.name
        group = f"{name}/{shard.name}"
        return SourceRow(shard.uri, shard.name, None, group, name, verdict=Verdict(reason, detail))

    def _row(self, shard: Shard, number: int, cells: Mapping[str, Any]) -> SourceRow:
        file = f"{shard.name}#row={number}"
        try:
            read = _read(cells)
            verdict = self._verdict(file, cells, read)
        except _Unparsable as error:
            read, verdict = _Read(), Verdict("unparsable_list", f"{file}: {error}")
        return SourceRow(
            uri=f"{shard.uri}#row={number}",
            file=file,
            label=_label(cells["label"]),
            group=read.group or f"{self.settings.name}/{file}",
            source=self.settings.name,
            slices=read.slices,
            capture=read.capture,
            verdict=verdict,
        )

    def _verdict(self, file: str, cells: Mapping[str, Any], read: _Read) -> Verdict | None:
        label = _label(cells["label"])
        if not cells["has_image"]:
            return Verdict("no_image", f"{file} has no image bytes: fetch the shard again")
        if label is None:
            return Verdict(
                "unknown_label",
                f"{file} has the label {cells['label']!r}; NATIX knows 0 (none) and 1 (roadwork)",
            )
        if read.described != bool(label) and self.settings.disagreement == "quarantine":
            has = "a description of works" if read.described else "no description"
            return Verdict(
                "label_disagrees",
                f"{file} has the label {label} and {has}; set disagreement: keep to use it all the "
                "same",
                fault=False,
            )
        return None


@dataclass(frozen=True)
class _Read:
    """What the metadata of one row say."""

    group: str | None = None
    capture: str | None = None
    described: bool = False
    slices: Mapping[str, str | None] = field(default_factory=dict)


class _Unparsable(Exception):
    """A cell that should hold a list does not."""


def gps_cell(latitude: float, longitude: float) -> str:
    """Name of the cell of about 111 m by 111 m that holds a position given in degrees."""
    row = math.floor(latitude / _CELL)
    # Meridians come together towards the poles: fewer cells a row keep a cell as wide as high.
    width = _CELL / max(math.cos(math.radians(row * _CELL)), 1e-6)
    return f"place/{row}/{math.floor(longitude / width)}"


def _read(cells: Mapping[str, Any]) -> _Read:
    city = city_of(cells["city_name"])
    vid, seq = word(cells["video_info.vid_id"]), cells["video_info.seq_id"]
    if vid is None and city == "pittsburgh":
        vid = PITTSBURGH
    frame = word(cells["video_info.frame_id"])
    gps = _list("gps", cells["gps"])
    group = sequence_group(vid, seq)
    if gps and not group:
        group = gps_cell(*_position(gps))
    return _Read(
        group=group,
        capture=capture_of(vid, seq, frame),
        described=word(cells["scene_description"]) is not None,
        slices={
            "time_of_day": word(cells["scene_level_tags.daytime"]),
            "weather": joined(_list("scene_level_tags.weather", cells["scene_level_tags.weather"])),
            "environment": word(cells["scene_level_tags.scene_environment"]),
            "city": city,
        },
    )


def _list(column: str, cell: Any) -> list[Any]:
    """The list that a cell holds as text, such as ``"['Sunny']"``; empty where there is none."""
    text = word(cell)
    if text is None:
        return []
    try:
        # Only literals are evaluated; the length bounds what the parser may spend on a wild cell.
        value = ast.literal_eval(text) if len(text) <= _LONGEST_LIST else None
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        value = None
    if not isinstance(value, list):
        raise _Unparsable(f"{column} is {text[:60]!r}, expected a list such as \"['Sunny']\"")
    return value


def _position(gps: list[Any]) -> tuple[float, float]:
    numbers = [float(value) for value in gps if isinstance(value, int | float)]
    if len(numbers) != 2 or len(gps) != 2 or not (abs(numbers[0]) <= 90 and abs(numbers[1]) <= 180):
        raise _Unparsable(f"gps is {str(gps)[:60]!r}, expected [latitude, longitude] in degrees")
    return numbers[0], numbers[1]


def _label(value: Any) -> int | None:
    return int(value) if value in (0, 1) else None
