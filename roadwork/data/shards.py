"""Shards: the photographs of one set in tar archives, for training from object storage.

The archives are in WebDataset's form: ``<sample_id>.jpg`` and ``<sample_id>.json`` beside each
other, in an order shuffled by a seed, so that every shard is a mix of the whole set. Beside them
lie ``index.parquet`` (where every image is) and, written last, ``set.parquet``: the set itself,
of the same role and rows, with addresses in the shards. Equal sets give equal bytes.

Where every image comes to lie follows from the sizes in the manifest, so the plan is known before
the first byte is read; ``plan.json`` holds its hash. A shard appears under its name only when it is
whole. So writing that was interrupted goes on with the first shard that is missing.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from roadwork.data.manifest import SCHEMA, SampleSet
from roadwork.data.shard_plan import BLOCK, FORM, ShardPlan, describe, plan_shards, rows_of
from roadwork.data.storage import (
    is_remote,
    join,
    local_path,
    read_bytes,
    stat_of,
    write_bytes,
    write_file,
)
from roadwork.errors import DataError
from roadwork.progress import progress

__all__ = ["SHARD_BYTES", "load_shards", "verify_images", "write_shards"]

SHARD_BYTES = 256 << 20
"""Usual size of a shard: large enough for fast transfers, small enough to keep a few on disk."""

INDEX = pa.schema(
    [
        pa.field("shard", pa.string(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("length", pa.int64(), nullable=False),
        pa.field("sample_id", pa.string(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
    ]
)
_AHEAD = 32
_WORKERS = 4
_SUFFIXES = (
    (b"\xff\xd8\xff", "jpg"),
    (b"\x89PNG", "png"),
    (b"RIFF", "webp"),
    (b"BM", "bmp"),
    (b"II", "tif"),
    (b"MM", "tif"),
)

_Set = TypeVar("_Set", bound=SampleSet)
_In = TypeVar("_In")
_Out = TypeVar("_Out")


def write_shards(
    dataset: _Set, folder: str, *, max_bytes: int = SHARD_BYTES, seed: int = 0
) -> _Set:
    """Write a set's photographs as shards, or go on where an earlier call stopped.

    Args:
        dataset: any set of the manifest.
        folder: local folder, or an address in an object store.
        max_bytes: no shard is larger, save one that holds a single larger image.
        seed: of the order in the shards.

    Returns:
        The same set, role and rows, with addresses in the shards.

    Raises:
        DataError: a photograph is missing or was changed since ingest, a sample occurs twice, or
            the folder holds the shards of something else.
    """
    where = folder.rstrip("/") if is_remote(folder) else str(local_path(folder).resolve())
    plan = plan_shards(dataset, max_bytes, seed)
    _claim(where, plan)
    with progress(f"Writing shards of the {dataset.role} set") as update:
        for number, (name, size) in enumerate(zip(plan.shards, plan.sizes, strict=True)):
            if _size(join(where, name)) != size:
                with _made(where) as made:
                    _write_shard(made, plan, number)
                    write_file(join(where, name), made)
            update(plan.starts[number + 1], len(dataset))
    numbers = np.repeat(np.arange(len(plan.sizes)), np.diff(plan.starts))
    names = pa.array(plan.shards).take(pa.array(numbers))
    lengths = plan.rows.column("bytes").to_numpy()
    ids = [plan.rows.column("sample_id"), plan.rows.column("sha256")]
    index = pa.table([names, plan.offsets, lengths, *ids], schema=INDEX)
    _write_table(join(where, "index.parquet"), index)
    places = pa.array(
        f"{name}#bytes={offset}+{length}"
        for name, offset, length in zip(names.to_pylist(), plan.offsets, lengths, strict=True)
    )
    # Back to the order of the set.
    table = _with_uris(dataset.table, places.take(pa.array(np.argsort(plan.order))))
    _write_table(
        join(where, "set.parquet"), table.replace_schema_metadata({"role": str(dataset.role)})
    )
    return load_shards(where, type(dataset))


def load_shards(folder: str, kind: type[_Set]) -> _Set:
    """The set that :func:`write_shards` wrote, with addresses below the given folder.

    Raises:
        DataError: writing did not end, or the shards hold another role.
    """
    where = folder.rstrip("/") if is_remote(folder) else str(local_path(folder).resolve())
    try:
        data = read_bytes(join(where, "set.parquet"))
    except FileNotFoundError:
        raise DataError(
            f"{where} holds no finished shards: there is no set.parquet, which is written last. "
            "Write them again with the same set and settings; what is there is not lost"
        ) from None
    table = pq.read_table(pa.BufferReader(data))
    role = (table.schema.metadata or {}).get(b"role", b"").decode()
    if role != kind.role:
        raise DataError(f"{where} holds the {role or 'unknown'} set, not {kind.role}")
    uris = pa.array(join(where, place) for place in table.column("uri").to_pylist())
    return kind(_with_uris(table, uris).replace_schema_metadata(None))


def verify_images(dataset: SampleSet, workers: int = _WORKERS) -> None:
    """Read every photograph of a set and compare it with its SHA-256.

    Raises:
        DataError: some are missing or changed; the first few are named.
    """
    wrong: list[str] = []
    rows = zip(dataset.uris, dataset.table.column("sha256").to_pylist(), strict=True)
    with ThreadPoolExecutor(max(1, workers)) as pool, progress("Verifying images") as update:
        for done, fault in enumerate(_ahead(pool, lambda row: _fault(*row), rows), start=1):
            if fault is not None:
                wrong.append(fault)
            update(done, len(dataset))
    if wrong:
        raise DataError(
            f"{len(wrong)} of {len(dataset)} photographs are not those of the manifest: "
            f"{'; '.join(wrong[:3])}. Restore them, or run ingest again"
        )


def _claim(where: str, plan: ShardPlan) -> None:
    """Refuse a folder that holds other shards; else leave the plan's hash there."""
    note = join(where, "plan.json")
    text = json.dumps({"form": FORM, "plan": plan.digest, "shards": len(plan.sizes)}) + "\n"
    try:
        found = read_bytes(note).decode("utf-8", errors="replace")
    except FileNotFoundError:
        if _size(join(where, plan.shards[0])) is None:
            write_bytes(note, text.encode())
            return
        found = ""
    if found != text:
        raise DataError(
            f"{where} holds shards of another set, or with other settings: name an empty folder, "
            "or delete them"
        )


def _write_shard(made: Path, plan: ShardPlan, number: int) -> None:
    start, end = plan.starts[number], plan.starts[number + 1]
    rows = rows_of(plan.rows.slice(start, end - start))
    with made.open("wb") as file, ThreadPoolExecutor(_WORKERS) as pool:
        for row, data in _ahead(pool, lambda row: (row, _image(row)), rows):
            _add(file, f"{row['sample_id']}.{_suffix(data)}", data)
            _add(file, f"{row['sample_id']}.json", describe(row))
        file.write(bytes(plan.sizes[number] - file.tell()))


def _add(file: IO[bytes], name: str, data: bytes) -> None:
    """One member; nothing of this machine or moment goes into its header."""
    header = tarfile.TarInfo(name)
    header.size = len(data)
    file.write(header.tobuf(tarfile.USTAR_FORMAT))
    file.write(data)
    file.write(bytes(-len(data) % BLOCK))


def _image(row: dict[str, Any]) -> bytes:
    """A photograph that is still the one that ingest saw."""
    try:
        data = read_bytes(row["uri"])
    except OSError as error:
        raise DataError(
            f"{row['uri']} was readable at ingest and now is not ({error.strerror or error}): "
            "restore it, or run ingest again"
        ) from error
    if len(data) != row["bytes"] or hashlib.sha256(data).hexdigest() != row["sha256"]:
        raise DataError(f"{row['uri']} was changed since ingest: restore it, or run ingest again")
    return data


def _fault(uri: str, sha256: str) -> str | None:
    try:
        data = read_bytes(uri)
    except (OSError, DataError) as error:
        return f"{uri} cannot be read ({error})"
    return None if hashlib.sha256(data).hexdigest() == sha256 else f"{uri} has other content"


def _suffix(data: bytes) -> str:
    return next(suffix for mark, suffix in _SUFFIXES if data.startswith(mark))


def _ahead(
    pool: ThreadPoolExecutor, function: Callable[[_In], _Out], items: Iterable[_In]
) -> Iterator[_Out]:
    """Results in order, a few of them made ahead of use: never all of them at once."""
    waiting: deque[Future[_Out]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > _AHEAD:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


@contextmanager
def _made(where: str) -> Iterator[Path]:
    """A file to write, on the disk of the folder if that is local; gone afterwards."""
    local = None if is_remote(where) else local_path(where)
    with tempfile.TemporaryDirectory(prefix=".shard-", suffix=".partial", dir=local) as folder:
        yield Path(folder, "shard")


def _size(uri: str) -> int | None:
    try:
        return stat_of(uri).size
    except FileNotFoundError:
        return None


def _write_table(uri: str, table: pa.Table) -> None:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    write_bytes(uri, buffer.getvalue())


def _with_uris(table: pa.Table, uris: pa.Array | pa.ChunkedArray) -> pa.Table:
    return table.set_column(SCHEMA.get_field_index("uri"), SCHEMA.field("uri"), uris)
