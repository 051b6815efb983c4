"""Shard plan: which photograph lies in which shard, and where, before a byte is read."""

from __future__ import annotations

import hashlib
import itertools
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from roadwork.data.manifest import SLICES, SampleSet
from roadwork.errors import DataError

__all__ = ["ShardPlan", "describe", "plan_shards", "rows_of"]

BLOCK = tarfile.BLOCKSIZE
FORM = 1
_DESCRIBED = ("file", "group_id", "drive", "source", "label", "capture", *SLICES)


@dataclass(frozen=True)
class ShardPlan:
    """Which rows lie where.

    Attributes:
        rows: the set's table in the order of the shards.
        order: row of the set, for every row of ``rows``.
        starts: first row of every shard, and one past the last.
        offsets: where each image's bytes begin in its shard.
        sizes: bytes of every shard.
        digest: hash of all that decides a byte of the shards.
    """

    rows: pa.Table
    order: NDArray[np.int64]
    starts: list[int]
    offsets: NDArray[np.int64]
    sizes: list[int]
    digest: str

    @property
    def shards(self) -> list[str]:
        """Names of the shards."""
        return [f"shard-{number:06}.tar" for number in range(len(self.sizes))]


def plan_shards(dataset: SampleSet, max_bytes: int, seed: int) -> ShardPlan:
    """Shuffle the rows by the seed and fill shards of at most ``max_bytes`` with them.

    Raises:
        DataError: a sample occurs twice.
    """
    if len(np.unique(dataset.sample_ids)) != len(dataset):
        raise DataError(
            f"the {dataset.role} set holds a sample twice: set duplicates aside by ingest first"
        )
    order = np.random.default_rng([seed]).permutation(len(dataset))
    rows = dataset.table.take(pa.array(order))
    digest = hashlib.sha256(f"{FORM}:{max_bytes}:{dataset.role}".encode())
    descriptions = []
    for row in rows_of(rows):
        description = describe(row)
        descriptions.append(len(description))
        digest.update(f"{row['sha256']}:{row['bytes']}:".encode() + description)
    images = rows.column("bytes").to_numpy().astype(np.int64)
    entries = 2 * BLOCK + _padded(images) + _padded(np.array(descriptions, dtype=np.int64))
    ends = np.cumsum(entries)
    begins = ends - entries
    room = max_bytes // tarfile.RECORDSIZE * tarfile.RECORDSIZE - 2 * BLOCK
    starts = [0]
    while starts[-1] < len(rows):
        first = starts[-1]
        after = int(np.searchsorted(ends, begins[first] + room, side="right"))
        starts.append(max(after, first + 1))
    within = begins - np.repeat(begins[starts[:-1]], np.diff(starts))
    contents = [int(ends[e - 1] - begins[s]) for s, e in itertools.pairwise(starts)]
    records = [-(-(size + 2 * BLOCK) // tarfile.RECORDSIZE) for size in contents]
    return ShardPlan(
        rows=rows,
        order=order,
        starts=starts,
        offsets=within + BLOCK,
        sizes=[count * tarfile.RECORDSIZE for count in records],
        digest=digest.hexdigest(),
    )


def describe(row: dict[str, Any]) -> bytes:
    """What is known of a photograph, as canonical JSON."""
    known = {name: row[name] for name in (*_DESCRIBED, "sha256")}
    return json.dumps(known, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def rows_of(table: pa.Table) -> Iterator[dict[str, Any]]:
    """Rows of a manifest's table as dictionaries, a few at a time."""
    for batch in table.select(["sample_id", "uri", "sha256", "bytes", *_DESCRIBED]).to_batches(
        max_chunksize=1024
    ):
        yield from batch.to_pylist()


def _padded(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    return -(-lengths // BLOCK) * BLOCK
