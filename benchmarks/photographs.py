"""Photographs for a comparison: folds by group, and their views decoded once for all processes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from roadwork.data.loading import ViewReader
from roadwork.data.manifest import Manifest, SampleSet, SelectSet, TestSet, TrainSet
from roadwork.data.views import Tiles, view_count

_INNER = 4  # of the rows that are not held out, one part in four chooses the pass


@dataclass(frozen=True)
class Sets:
    """What one cell trains on, chooses with, and is judged on.

    Attributes:
        rows: rows of the whole table that ``test`` holds, (T,).
    """

    train: TrainSet
    select: SelectSet
    test: TestSet
    rows: NDArray[np.int64]

    @property
    def both(self) -> TrainSet:
        """Training and selection rows together, for models of which nothing is selected."""
        return TrainSet(pa.concat_tables([self.train.table, self.select.table]))


@dataclass(frozen=True)
class Photographs:
    """The rows of a manifest and how they are folded."""

    table: pa.Table
    folds: int

    @classmethod
    def load(cls, folder: Path, folds: int) -> Self:
        """Read what ``Manifest.save`` wrote."""
        return cls(Manifest.load(folder).table, folds)

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """Class of every row, (N,)."""
        return self.table.column("label").to_numpy().astype(np.int64)

    @cached_property
    def groups(self) -> NDArray[np.str_]:
        """Group of every row, (N,)."""
        return np.array(self.table.column("group_id").to_pylist())

    @cached_property
    def sources(self) -> NDArray[np.str_]:
        """Source of every row, (N,)."""
        return np.array(self.table.column("source").to_pylist())

    @property
    def fingerprint(self) -> str:
        """Changes with the photographs, their labels and groups, but not with their folder."""
        rows = zip(
            self.table.column("sample_id").to_pylist(),
            self.labels.tolist(),
            self.groups.tolist(),
            strict=True,
        )
        return hashlib.sha256(repr(list(rows)).encode()).hexdigest()

    def held_out(self, seed: int) -> NDArray[np.int64]:
        """The fold in which every row is judged, (N,)."""
        return deal(self.labels, self.groups, self.sources, self.folds, [seed])

    def sets(self, seed: int, fold: int, unseen: str) -> Sets:
        """The sets of one fold; with ``unseen`` no image of that source is learned from.

        Then the fold's images of that source are judged, and those of the sources that have
        positives: is an unknown kind of street told from the works of an unknown city?
        """
        where = self.held_out(seed)
        learn, judge = where != fold, where == fold
        if unseen:
            learn &= self.sources != unseen
            working = np.unique(self.sources[self.labels > 0])
            judge &= (self.sources == unseen) | np.isin(self.sources, working)
        rest, rows = np.flatnonzero(learn), np.flatnonzero(judge)
        parts = deal(
            self.labels[rest], self.groups[rest], self.sources[rest], _INNER, [seed, 1 + fold]
        )
        for part in range(_INNER):
            train, select = rest[parts != part], rest[parts == part]
            if all(len(np.unique(self.labels[half])) == 2 for half in (train, select)):
                return Sets(
                    TrainSet(self.table.take(train)),
                    SelectSet(self.table.take(select)),
                    TestSet(self.table.take(rows)),
                    rows,
                )
        raise SystemExit(f"fold {fold} of seed {seed} leaves no selection part with both classes")


def deal(
    labels: NDArray[np.int64],
    groups: NDArray[np.str_],
    sources: NDArray[np.str_],
    count: int,
    seed: Sequence[int],
) -> NDArray[np.int64]:
    """Part of every row, (N,): groups of one source and of the same labels are dealt out in turn.

    Scikit-learn's ``StratifiedGroupKFold`` places the large groups first and so makes nearly the
    same folds with every seed; of ten clips with works these would be the same pairs three times.
    """
    names, first, codes = np.unique(groups, return_index=True, return_inverse=True)
    strata: dict[tuple[str, bool, bool], list[int]] = {}
    for group in range(len(names)):
        own = labels[codes == group]
        kind = (str(sources[first[group]]), bool(own.any()), bool((own == 0).any()))
        strata.setdefault(kind, []).append(group)
    parts = np.empty(len(names), dtype=np.int64)
    rng = np.random.default_rng(list(seed))
    dealt = 0
    for kind in sorted(strata):
        members = rng.permutation(strata[kind])
        parts[members] = (dealt + np.arange(len(members))) % count
        dealt += len(members)
    return parts[codes]


def read_manifest(settings: Any, quick: bool) -> Manifest:
    """Ingest the photographs; ``quick`` keeps one of each label of every group."""
    from roadwork.data.ingest import ingest
    from roadwork.data.sources import open_sources

    manifest = ingest(open_sources(settings), settings.data)
    if not quick:
        return manifest
    table = manifest.table
    keys = zip(table.column("group_id").to_pylist(), table.column("label").to_pylist(), strict=True)
    first = {key: row for row, key in reversed(list(enumerate(keys)))}
    return Manifest(table.take(sorted(first.values())), manifest.quarantine, manifest.duplicates)


def decode(table: pa.Table, size: int, tiles: Tiles, path: Path, threads: int) -> None:
    """Write the views of all rows to one file of uint8, (N, V, S, S, 3), unless it is there."""
    if path.exists():
        return
    reader = ViewReader(TrainSet(table), size, tiles, threads)
    partial = path.with_suffix(".partial")
    shape = (len(reader), *reader.shape)
    kept = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)
    start = 0
    for batch in reader.batches(32):
        kept[start : start + len(batch)] = batch
        start += len(batch)
    kept.flush()
    partial.rename(path)


class KeptViews:
    """Readers over the file that :func:`decode` wrote; processes share its pages."""

    def __init__(self, photographs: Photographs, path: Path, size: int, tiles: Tiles) -> None:
        """``tiles`` of 0 takes the global views alone, whatever else the file holds."""
        kept: NDArray[np.uint8] = np.load(path, mmap_mode="r")
        self.views = kept[:, : view_count(tiles)]
        self.size = size
        self.tiles: Tiles = tiles
        uris = photographs.table.column("uri").to_pylist()
        self.row = {uri: row for row, uri in enumerate(uris)}

    def __call__(self, dataset: SampleSet) -> ViewReader:
        """The reader of a set."""
        return _KeptReader(dataset, self)


class _KeptReader(ViewReader):
    def __init__(self, dataset: SampleSet, kept: KeptViews) -> None:
        super().__init__(dataset, kept.size, kept.tiles, workers=1)
        self._kept = kept.views
        self._rows = np.array([kept.row[uri] for uri in self.uris])

    def __call__(self, row: int) -> NDArray[np.uint8]:
        return self._kept[self._rows[row]]
