"""Census: how many photographs of what kind a manifest, or the sets cut from it, hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from roadwork.data.folders import load_manifest, load_splits
from roadwork.data.manifest import SLICES, Manifest, Role
from roadwork.data.splits import Splits
from roadwork.errors import DataError

__all__ = ["Census", "Stratum", "census_of_folder", "census_of_manifest", "census_of_splits"]


@dataclass(frozen=True)
class Stratum:
    """Photographs of one source with one label, in one role.

    Attributes:
        source: name of the source.
        label: class index.
        role: role of the set; empty for a manifest that is not cut.
        images: photographs.
        groups: groups that they belong to.
    """

    source: str
    label: int
    role: str
    images: int
    groups: int


@dataclass(frozen=True)
class Census:
    """Counts only; NULL of a slice column is counted as ``not known``.

    Attributes:
        strata: by source, label and role, sorted.
        slices: photographs by column and value.
        duplicates: left-out copies by reason.
        left_out: rows that are not used, by source and reason, faults first: (source, reason,
            fault, rows).
    """

    strata: tuple[Stratum, ...]
    slices: Mapping[str, Mapping[str, int]]
    duplicates: Mapping[str, int]
    left_out: tuple[tuple[str, str, bool, int], ...]

    @property
    def images(self) -> int:
        """Photographs in all."""
        return sum(stratum.images for stratum in self.strata)


def census_of_manifest(manifest: Manifest) -> Census:
    """Counts of a manifest, of its duplicates and of its quarantine."""
    refused = manifest.quarantine.group_by(["source", "reason", "fault"]).aggregate(
        [([], "count_all")]
    )
    rows = [
        (row["source"], row["reason"], row["fault"], row["count_all"])
        for row in refused.to_pylist()
    ]
    return Census(
        strata=tuple(_strata(manifest.table, "")),
        slices=_slices(manifest.table),
        duplicates=_counts(manifest.duplicates, "reason"),
        left_out=tuple(sorted(rows, key=lambda row: (not row[2], row[0], row[1]))),
    )


def census_of_splits(splits: Splits) -> Census:
    """Counts of the five sets; they know nothing of what was left out before."""
    tables = [(part.role, part.table) for part in splits.each()]
    order = {str(role): number for number, role in enumerate(Role)}
    strata = [stratum for role, table in tables for stratum in _strata(table, role)]
    strata.sort(key=lambda row: (row.source, row.label, order[row.role]))
    together = pa.concat_tables([table for _, table in tables])
    return Census(tuple(strata), _slices(together), {}, ())


def census_of_folder(folder: Path) -> Census:
    """Counts of what ``roadwork data ingest`` or ``roadwork data split`` wrote.

    Raises:
        DataError: the folder is neither.
    """
    if (folder / "table.parquet").is_file():
        return census_of_manifest(load_manifest(folder))
    if (folder / Role.TRAIN).is_dir():
        return census_of_splits(load_splits(folder))
    raise DataError(
        f"{folder} holds neither a manifest (`roadwork data ingest`) nor the five sets "
        "(`roadwork data split`)"
    )


def _strata(table: pa.Table, role: str) -> list[Stratum]:
    counted = table.group_by(["source", "label"]).aggregate(
        [([], "count_all"), ("group_id", "count_distinct")]
    )
    found = [
        Stratum(row["source"], row["label"], role, row["count_all"], row["group_id_count_distinct"])
        for row in counted.to_pylist()
    ]
    return sorted(found, key=lambda row: (row.source, row.label))


def _slices(table: pa.Table) -> dict[str, dict[str, int]]:
    return {name: _counts(table, name) for name in SLICES}


def _counts(table: pa.Table, column: str) -> dict[str, int]:
    counted = table.group_by(column).aggregate([([], "count_all")]).to_pylist()
    named = {row[column] or "not known": row["count_all"] for row in counted}
    return dict(sorted(named.items(), key=lambda pair: (-pair[1], pair[0])))
