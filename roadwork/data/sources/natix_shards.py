"""Shards of NATIX: found by name, and read without the pictures in them.

Two layouts exist: Parquet files as Hugging Face publishes them
(``data/train-00003-of-00026.parquet``), and the folder that ``datasets`` writes with
``save_to_disk`` (``train/state.json`` naming ``data-00000-of-00002.arrow``).
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq

from roadwork.data.storage import StoredFile, is_remote, open_stored, read_bytes
from roadwork.errors import DataError

__all__ = ["DamagedShard", "Shard", "find_shards", "missing_shards", "read_shard"]

_BATCH = 4096
_NAME = re.compile(
    r"^(?P<split>train|test)-(?P<number>\d{5})-of-(?P<count>\d{5})(?:-[0-9a-f]+)?\.parquet$"
)
_ARROW_FILE = b"ARROW1"
_LFS = b"version https://git-lfs"


class DamagedShard(Exception):
    """A shard, or the rest of it, cannot be read; the message says why."""


@dataclass(frozen=True)
class Shard:
    """One file of rows: its name below the root, its address, and the split that it belongs to."""

    name: str
    uri: str
    split: str | None


def find_shards(listing: Mapping[str, StoredFile]) -> list[Shard]:
    """Every shard of a listing (by name below the root), in order of name; empty if none.

    A shard of no known split (None) is given too: nothing is passed over in silence.

    Raises:
        DataError: both layouts are there, or a ``state.json`` names files that it should not.
    """
    published = [
        Shard(name, file.uri, _split_of(name))
        for name, file in listing.items()
        if name.endswith(".parquet")
    ]
    saved = [
        shard
        for name in listing
        if PurePosixPath(name).name == "state.json"
        for shard in _saved(name, listing)
    ]
    if published and saved:
        raise DataError(
            f"NATIX lies here twice: as Parquet ({published[0].name}, …) and as a saved data set "
            f"({saved[0].name}, …); point data.sources.root at one of them"
        )
    return published or saved


def missing_shards(shards: list[Shard]) -> list[Shard]:
    """Shards that the names of the others promise (``-of-00026``) and that are not there."""
    numbers: dict[tuple[str, str, str], set[int]] = defaultdict(set)
    for shard in shards:
        path = PurePosixPath(shard.name)
        found = _NAME.match(path.name)
        if found is not None:
            folder = "" if str(path.parent) == "." else f"{path.parent}/"
            numbers[folder, found["split"], found["count"]].add(int(found["number"]))
    gaps = []
    for (folder, split, count), present in sorted(numbers.items()):
        for number in sorted(set(range(int(count))) - present):
            gaps.append(Shard(f"{folder}{split}-{number:05d}-of-{count}.parquet", "", split))
    return gaps


def read_shard(shard: Shard, columns: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
    """Rows of a shard in order, some thousand at a time, without the encoded pictures.

    Besides ``columns`` the batches hold ``has_image`` (bool): whether the row has image bytes. Of a
    Parquet file the pages of the pictures are read only where its footer counts NULLs among them;
    a local Arrow file is mapped, so that its pictures stay on the disk. (A remote Arrow *stream*
    has no index: it is read through once.)

    Raises:
        DataError: a column is missing.
        DamagedShard: the file, or the rest of it, cannot be read.
    """
    try:
        if shard.uri.endswith(".parquet"):
            yield from _read_parquet(shard, columns)
        else:
            yield from _read_arrow(shard, columns)
    except (pa.ArrowException, OSError) as error:
        raise DamagedShard(_why(shard, error)) from error


def _split_of(name: str) -> str | None:
    path = PurePosixPath(name)
    found = _NAME.match(path.name)
    if found is not None:
        return found["split"]
    # Hugging Face's own conversion names files by number: default/train/0000.parquet.
    said = {path.parent.name, path.stem} & {"train", "test"}
    return said.pop() if len(said) == 1 else None


def _saved(name: str, listing: Mapping[str, StoredFile]) -> list[Shard]:
    folder = PurePosixPath(name).parent
    try:
        state = json.loads(read_bytes(listing[name].uri))
        files = [entry["filename"] for entry in state["_data_files"]]
        # A data set at the root was chosen by whoever set the root: it is read whatever its split.
        split = folder.name if folder.name in ("train", "test") else state.get("_split")
        split = None if str(folder) == "." else split
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{name} is no state of a data set saved with save_to_disk ({error!r}): save it again"
        ) from error
    shards = []
    for file in files:
        inner = str(folder / file) if str(folder) != "." else file
        if inner not in listing:
            raise DataError(f"{name} names {file}, which is not there: copy the folder again")
        shards.append(Shard(inner, listing[inner].uri, split))
    return shards


def _read_parquet(shard: Shard, columns: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
    with open_stored(shard.uri) as opened, pq.ParquetFile(opened) as file:
        _require(shard, file.schema_arrow, columns)
        for group in range(file.num_row_groups):
            nulls = _image_nulls(file, group)
            wanted = [*columns, *([] if nulls == 0 else ["image.bytes"])]
            for batch in file.iter_batches(_BATCH, row_groups=[group], columns=wanted):
                yield _with_flag(batch, columns)


def _read_arrow(shard: Shard, columns: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
    with pa.memory_map(shard.uri) if not is_remote(shard.uri) else _remote(shard.uri) as opened:
        is_file = opened.read(len(_ARROW_FILE)) == _ARROW_FILE
        opened.seek(0)
        reader: Any = ipc.open_file(opened) if is_file else ipc.open_stream(opened)
        _require(shard, reader.schema, columns)
        batches = map(reader.get_batch, range(reader.num_record_batches)) if is_file else reader
        for batch in batches:
            for start in range(0, batch.num_rows, _BATCH):
                yield _with_flag(batch.slice(start, _BATCH), columns)


def _remote(uri: str) -> pa.PythonFile:
    return pa.PythonFile(open_stored(uri), mode="r")


def _with_flag(batch: pa.RecordBatch, columns: tuple[str, ...]) -> pa.RecordBatch:
    flags = pa.array([True] * batch.num_rows, pa.bool_())
    if "image" in batch.schema.names:
        image = batch.column("image")
        # The parents' NULLs count as well; nothing but the bitmap of the NULLs is looked at.
        flags = image.flatten()[image.type.get_field_index("bytes")].is_valid()
    return batch.select(list(columns)).append_column("has_image", flags)


def _image_nulls(file: pq.ParquetFile, group: int) -> int | None:
    """NULLs among the image bytes of a row group; None if the footer does not count them."""
    found = file.metadata.row_group(group)
    for index in range(found.num_columns):
        column = found.column(index)
        if column.path_in_schema == "image.bytes":
            return column.statistics.null_count if column.is_stats_set else None
    return None


def _require(shard: Shard, schema: pa.Schema, columns: tuple[str, ...]) -> None:
    missing = [name for name in ("image", *columns) if name not in schema.names]
    if missing:
        raise DataError(
            f"{shard.name} has no column {', '.join(map(repr, missing))}; it has: "
            f"{', '.join(schema.names) or 'none'}. This is not the published form of "
            "natix-network-org/roadwork: fetch it again, or convert your own images to a folder "
            "with a CSV (kind: image_folder)"
        )
    kind = schema.field("image").type
    if not pa.types.is_struct(kind) or kind.get_field_index("bytes") < 0:
        raise DataError(
            f"{shard.name}: the column 'image' is {kind}; expected a struct of bytes and path, as "
            "Hugging Face writes images: fetch the data again"
        )


def _why(shard: Shard, error: Exception) -> str:
    try:
        with open_stored(shard.uri) as file:
            if file.read(len(_LFS)) == _LFS:
                return "it is a Git LFS pointer, not the data: run `git lfs pull`"
    except OSError:
        pass
    return f"{str(error).splitlines()[0] if str(error) else type(error).__name__}: fetch it again"
