"""Columns of Arrow tables as a whole: their canonical hash, their texts as numbers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

__all__ = ["distinct", "encode", "table_hash", "text_bytes"]


def table_hash(table: pa.Table) -> str:
    """SHA-256 over the names and values of a table.

    It depends neither on chunks nor on the version of a file format, nor on what lies in the slots
    of absent values, nor on whether texts are kept in a dictionary. Absent is not empty.
    """
    digest = hashlib.sha256(table.num_rows.to_bytes(8, "little"))
    for name in table.column_names:
        digest.update(name.encode() + b"\0")
        for part in _canonical(table.column(name)):
            digest.update(part)
    return digest.hexdigest()


def encode(column: pa.ChunkedArray) -> tuple[list[str], NDArray[np.int64]]:
    """The sorted distinct texts of a column, and for every row the place of its own, from 0.

    Absent texts have the place -1.
    """
    names = column.unique().drop_null().sort()
    places = pc.call_function("index_in", [column], pc.SetLookupOptions(names))
    return names.to_pylist(), places.fill_null(-1).to_numpy().astype(np.int64)


def distinct(*columns: pa.ChunkedArray) -> list[str]:
    """Every text that occurs in one of the columns, once."""
    return pa.chunked_array([column.unique() for column in columns]).unique().to_pylist()


def text_bytes(column: pa.ChunkedArray) -> bytes:
    """All texts of a column, one behind the other, in UTF-8; absent ones as if empty."""
    return b"".join(_pieces(column.cast(pa.large_string()).fill_null("")))


def _pieces(texts: pa.ChunkedArray) -> Iterator[memoryview]:
    for chunk in texts.chunks:
        if len(chunk):
            _, offsets, data = chunk.buffers()
            ends = np.frombuffer(offsets, dtype=np.int64)[chunk.offset :][: len(chunk) + 1]
            if data is not None:
                yield memoryview(data)[int(ends[0]) : int(ends[-1])]


def _canonical(column: pa.ChunkedArray) -> Iterator[bytes | memoryview]:
    """Type, presence and values of a column as bytes, the same for equal columns."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    yield np.packbits(column.is_valid().to_numpy()).data
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        texts = column.cast(pa.large_string()).fill_null("")
        yield b"text"
        yield pc.call_function("binary_length", [texts]).to_numpy().astype("<i8").data
        yield from _pieces(texts)
        return
    values = column.fill_null(False if pa.types.is_boolean(kind) else 0).to_numpy()
    yield str(kind).encode()
    yield values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
