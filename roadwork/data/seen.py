"""Seen photographs: rows of new data that a fitted model knows already, set aside with the reason.

A row is seen when its content, its drive or its group was used for the model, and so is every row
of its group: a group is one place at one time, and half of one is no new data. A copy that fusion
left out counts for the row that was kept in its stead.

Only equal bytes and equal names of groups are recognised. A photograph that was encoded anew and
carries another group's name is not.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from roadwork.data.columns import encode
from roadwork.data.exposure import Exposure, Ids, identifiers
from roadwork.data.manifest import QUARANTINE, Manifest, SampleSet
from roadwork.errors import DataError, LeakageError

__all__ = ["SEEN", "set_aside_seen", "write_seen"]

logger = logging.getLogger(__name__)

SEEN = "seen_by_model"
"""The reason under which the quarantine lists such rows."""

_EXAMPLES = 3


def set_aside_seen(
    manifest: Manifest, exposure: Exposure, title: str, *, stop: bool = False
) -> Manifest:
    """The manifest without the rows that a model has seen; these join its quarantine.

    Args:
        manifest: new data.
        exposure: of the model.
        title: what messages call the model.
        stop: raise instead of going on without them.

    Raises:
        LeakageError: with ``stop``, naming how many there are, some of them, and why.
        DataError: nothing is left.
    """
    table, copies = manifest.table, manifest.duplicates
    files = table.column("file").to_pylist()
    why = _direct(table, exposure)
    place = {name: row for row, name in enumerate(table.column("sample_id").to_pylist())}
    kept = [place.get(name) for name in copies.column("kept").to_pylist()]
    for file, row, reason in zip(
        copies.column("file").to_pylist(), kept, _direct(copies, exposure), strict=True
    ):
        if row is not None and reason and not why[row]:
            why[row] = f"it is kept for its copy {file}: {reason}"
    _spread(table, files, why)
    rows = np.flatnonzero([reason is not None for reason in why])
    if not len(rows):
        return manifest
    examples = "; ".join(f"{files[row]}: {why[row]}" for row in rows[:_EXAMPLES].tolist())
    message = f"{len(rows)} of {len(manifest)} new images were seen by the {title} ({examples})"
    if stop:
        raise LeakageError(
            f"{message}. Leave them and their groups out, or set recalibrate.seen to quarantine "
            "to list them and go on without."
        )
    if len(rows) == len(manifest):
        raise DataError(f"{message}: nothing is left. Use photographs of other groups")
    logger.warning("%s: they are set aside", message)
    gone = np.zeros(len(manifest), dtype=np.bool_)
    gone[rows] = True
    with_it = np.array([row is not None and gone[row] for row in kept], dtype=np.bool_)
    listed = [
        *_listed(table, rows, [why[row] for row in rows.tolist()]),
        *_listed(
            copies,
            np.flatnonzero(with_it),
            [f"a copy of {files[row]}" for row in kept if row is not None and gone[row]],
        ),
    ]
    quarantine = pa.concat_tables(
        [manifest.quarantine, pa.Table.from_pylist(listed, schema=QUARANTINE)]
    ).sort_by([(name, "ascending") for name in ("file", "source", "reason")])
    return Manifest(
        table.filter(pa.array(~gone)).combine_chunks(),
        quarantine,
        copies.filter(pa.array(~with_it)),
    )


def write_seen(manifest: Manifest, path: Path) -> Path:
    """Write the rows that :func:`set_aside_seen` listed as CSV (file, source, reason, detail)."""
    listed = np.array(manifest.quarantine.column("reason").to_pylist(), dtype=object) == SEEN
    pyarrow.csv.write_csv(manifest.quarantine.filter(pa.array(listed)).drop_columns("fault"), path)
    return path


def _direct(table: pa.Table, exposure: Exposure) -> list[str | None]:
    """Why a row is seen by itself, or None, for every row."""
    why: list[str | None] = [None] * table.num_rows
    if not table.num_rows:
        return why
    samples = SampleSet(table).sample_ids
    for use, seen in sorted(exposure.uses.items()):
        found = {"content": np.isin(samples, seen.samples)}
        for column in ("drive", "group_id"):
            found[column] = np.isin(_name_ids(table, column), seen.groups)
        for what, hits in found.items():
            names = None if what == "content" else table.column(what)
            for row in np.flatnonzero(hits).tolist():
                part = "its content" if names is None else f"its group {names[row].as_py()}"
                why[row] = why[row] or f"{part} was used before ({use})"
    return why


def _name_ids(table: pa.Table, column: str) -> Ids:
    names, codes = encode(table.column(column))
    return identifiers(names)[codes]


def _spread(table: pa.Table, files: Sequence[str], why: list[str | None]) -> None:
    """Let whole groups share the fate of their first seen row."""
    _, groups = encode(table.column("group_id"))
    first: dict[int, int] = {}
    for row, group in enumerate(groups.tolist()):
        if why[row]:
            first.setdefault(group, row)
    for row, group in enumerate(groups.tolist()):
        if why[row] is None and group in first:
            why[row] = f"it shares a group with {files[first[group]]}, which was seen"


def _listed(
    table: pa.Table, rows: NDArray[np.int64], details: Sequence[str | None]
) -> Iterator[dict[str, object]]:
    taken = table.select(["file", "source"]).take(pa.array(rows)).to_pylist()
    for row, detail in zip(taken, details, strict=True):
        yield {**row, "reason": SEEN, "detail": detail, "fault": False}
