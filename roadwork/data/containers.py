"""Containers: one image out of a Parquet file, an Arrow file or a tar archive.

Parquet is decoded by row group and Arrow by file, since the next image asked for is mostly a
neighbour: the decoded blocks are shared by all threads, and the least recently used ones are
dropped above a limit of bytes. Drawn at random, every image of a Parquet file costs its whole row
group; shards (:mod:`roadwork.data.shards`) are made for that.
"""

from __future__ import annotations

import bisect
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from roadwork.data.storage import (
    is_remote,
    local_path,
    open_stored,
    read_range,
    stat_of,
)
from roadwork.data.stores import explained
from roadwork.errors import DataError, RoadworkError

__all__ = ["BlockCache", "read_place"]

IMAGE_COLUMN = "image"
_CACHE_BYTES = 1 << 30
_OPEN_FILES = 256
_STREAM_MARK = b"\xff\xff\xff\xff"
_FILE_MARK = b"ARROW1"


@dataclass
class BlockCache:
    """Values by key, each made once however many threads ask; the least recently used go first."""

    most: int
    total: int = 0
    _kept: OrderedDict[Any, tuple[Future[Any], list[int]]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, key: Any, make: Callable[[], tuple[Any, int]]) -> Any:
        """The value of a key; ``make`` gives it and its cost. A failure is not remembered."""
        mine: tuple[Future[Any], list[int]] = (Future(), [])
        with self._lock:
            future, cost = self._kept.setdefault(key, mine)
            self._kept.move_to_end(key)
        if future is not mine[0]:
            return future.result()
        try:
            value, size = make()
        except BaseException as error:
            with self._lock:
                self._kept.pop(key, None)
            future.set_exception(error)
            raise
        future.set_result(value)
        with self._lock:
            cost.append(size)
            self.total += size
            self._drop(key)
        return value

    def clear(self) -> None:
        """Forget everything, locks included: after a fork their holders do not exist."""
        self._lock = threading.Lock()
        self._kept = OrderedDict()
        self.total = 0

    def _drop(self, newest: Any) -> None:
        for key in list(self._kept):
            if self.total <= self.most:
                return
            cost = self._kept[key][1]
            if cost and key != newest:
                self.total -= cost[0]
                del self._kept[key]


_blocks = BlockCache(_CACHE_BYTES)
_footers = BlockCache(_OPEN_FILES)
for _cache in (_blocks, _footers):
    os.register_at_fork(after_in_child=_cache.clear)


def read_place(file: str, kind: str, place: str) -> bytes:
    """Bytes of one image in a container.

    Args:
        file: address of the container.
        kind: ``row`` or ``bytes``.
        place: the row's number, from 0, or ``offset+length``.

    Raises:
        FileNotFoundError: there is no such container.
        DataError: it is damaged, has no such place, or no image there.
    """
    if kind == "bytes":
        return _slice(file, place)
    with _damage_named(file):
        row = int(place)
        if file.endswith(".arrow"):
            key = _version(file)
            chunks, starts = _blocks.get(key, lambda: _arrow_images(file))
        else:
            chunks, starts, row = _row_group(file, row)
        if not 0 <= row < starts[-1]:
            raise _no_row(file, place, starts[-1])
        number = bisect.bisect_right(starts, row) - 1
        value = chunks[number][row - starts[number]].as_py()
    data = value.get("bytes") if isinstance(value, dict) else value
    if data is None:
        raise DataError(
            f"{file}: row {place} holds no image bytes; embed the images when the file is written, "
            "or leave the row out"
        )
    return data


def _slice(file: str, place: str) -> bytes:
    offset, plus, length = place.partition("+")
    if not (plus and offset and length.isdigit()):
        raise DataError(f"{file}#bytes={place} is no place: it is written offset+length, in bytes")
    data = read_range(file, int(offset), int(length))
    if len(data) != int(length):
        raise DataError(
            f"{file} ends within the {length} bytes at {offset}: it is cut off, or was replaced. "
            "Restore it, or write the shards again"
        )
    return data


def _row_group(file: str, row: int) -> tuple[list[Any], list[int], int]:
    """Decoded images of the row group that holds a row, and the row's number in it."""
    key = _version(file)
    metadata, starts = _footers.get(key, lambda: (_footer(file), 1))
    if not 0 <= row < starts[-1]:
        raise _no_row(file, str(row), starts[-1])
    number = bisect.bisect_right(starts, row) - 1

    def decode() -> tuple[Any, int]:
        with _opened(file) as opened:
            reader = pq.ParquetFile(opened, metadata=metadata, pre_buffer=False)
            column = _image_path(file, reader.schema_arrow)
            table = reader.read_row_group(number, columns=[column], use_threads=False)
        images = table.column(IMAGE_COLUMN)
        return _indexed(images), images.nbytes

    chunks, inner = _blocks.get((key, number), decode)
    return chunks, inner, row - starts[number]


def _footer(file: str) -> tuple[pq.FileMetaData, list[int]]:
    """A Parquet file's metadata, and the first row of every group (and one past the last)."""
    with _opened(file) as opened:
        reader = pq.ParquetFile(opened)
        _image_path(file, reader.schema_arrow)
        metadata = reader.metadata
    starts = [0]
    for number in range(metadata.num_row_groups):
        starts.append(starts[-1] + metadata.row_group(number).num_rows)
    return metadata, starts


def _arrow_images(file: str) -> tuple[tuple[list[Any], list[int]], int]:
    """All images of an Arrow file or stream; mapped, not read, where it is on the local disk."""
    # The map must outlive this call: the images point into it.
    source = open_stored(file) if is_remote(file) else pa.memory_map(str(local_path(file)))
    head = source.read(8)
    source.seek(0)
    if head.startswith(_FILE_MARK):
        table = pa.ipc.open_file(source).read_all()
    elif head.startswith(_STREAM_MARK):
        table = pa.ipc.open_stream(source).read_all()
    else:
        raise DataError(f"{file} is no Arrow file or stream: download or write it again")
    _image_path(file, table.schema)
    images = table.column(IMAGE_COLUMN)
    return _indexed(images), images.nbytes


def _indexed(images: pa.ChunkedArray) -> tuple[list[Any], list[int]]:
    """Chunks, and the first row of each (and one past the last)."""
    chunks = [chunk for chunk in images.chunks if len(chunk)]
    starts = [0]
    for chunk in chunks:
        starts.append(starts[-1] + len(chunk))
    return chunks, starts


def _image_path(file: str, schema: pa.Schema) -> str:
    """Name of the column of encoded images, as Parquet's reader selects it."""
    if IMAGE_COLUMN not in schema.names:
        raise DataError(
            f"{file} has no column {IMAGE_COLUMN!r}; it has: {', '.join(schema.names)}. Name the "
            "column of encoded images so"
        )
    kind = schema.field(IMAGE_COLUMN).type
    if pa.types.is_struct(kind):
        index = kind.get_field_index("bytes")
        if index >= 0 and _is_binary(kind.field(index).type):
            return f"{IMAGE_COLUMN}.bytes"
    elif _is_binary(kind):
        return IMAGE_COLUMN
    raise DataError(
        f"{file}: the column {IMAGE_COLUMN!r} is {kind}; it must hold encoded images, as binary or "
        "as a struct with binary `bytes`"
    )


def _is_binary(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return (
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_binary_view(kind)
        or pa.types.is_fixed_size_binary(kind)
    )


def _version(file: str) -> tuple[str, str]:
    """What a file's blocks are kept under: a local file that was written anew is read anew."""
    if is_remote(file):
        return file, ""  # asking the store each time would double the requests
    found = stat_of(file)
    return file, f"{found.size}:{found.stamp}"


@contextmanager
def _opened(file: str) -> Iterator[Any]:
    with open_stored(file) as opened, pa.PythonFile(opened, mode="r") as wrapped:
        yield wrapped


@contextmanager
def _damage_named(file: str) -> Iterator[None]:
    """Arrow's complaints about a file's content become a :class:`DataError` that names it."""
    with explained(file) if is_remote(file) else nullcontext():
        try:
            yield
        except RoadworkError:
            raise
        except (pa.ArrowException, ValueError, EOFError) as error:
            raise _damaged(file, error) from error
        except OSError as error:
            # Arrow says plain OSError, without a number, of pages that do not unpack.
            if type(error) is not OSError or error.errno is not None:
                raise
            raise _damaged(file, error) from error


def _damaged(file: str, error: Exception) -> DataError:
    words = " ".join(str(error).split())[:200]
    return DataError(
        f"{file} is damaged or cut off ({words}): download or write it again, or take it away"
    )


def _no_row(file: str, row: str, rows: int) -> DataError:
    return DataError(
        f"{file} has no row {row}, only {rows} rows (from 0): it was replaced since it was listed; "
        "run ingest again"
    )
