"""What fusion made of the sources: every offered row is counted in exactly one place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from roadwork.data.columns import encode
from roadwork.data.hamming import near_pairs
from roadwork.data.manifest import Manifest
from roadwork.errors import DataError
from roadwork.settings.data import FusionSettings

__all__ = ["CopyCount", "FusionReport", "GroupSize", "SourceCount", "fusion_report"]

_LARGE = 0.05  # a merged group of more than this share of the images is worth a warning
_LISTED = 5
_EXAMPLES = 20


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class SourceCount(_Record):
    """Where the rows of one source went: ``offered`` is the sum of the other four."""

    offered: int
    kept: int
    duplicates: int
    quarantined: int
    left_out: int


class CopyCount(_Record):
    """Images of a source that were left out for one reason, for rows of ``kept_source``."""

    reason: str
    source: str
    kept_source: str
    images: int


class GroupSize(_Record):
    """One of the largest groups; ``share`` is of all kept images."""

    group: str
    images: int
    share: float
    drives: int


class FusionReport(_Record):
    """Counts of one fusion.

    Attributes:
        offered: rows that the sources gave; kept + duplicates + quarantined + left out.
        sources: the same by source.
        quarantined: damaged or contradictory rows, by reason and source.
        left_out: rows that a source does not offer on purpose, by reason and source.
        duplicates: copies by reason, by their source and by that of the row that stays.
        drives: groups as the sources name them, among kept rows and copies.
        groups: groups after those that share a photograph or a look were merged.
        groups_merged: those that hold several drives.
        groups_across_sources: those that hold rows of several sources.
        largest_groups: the largest, by kept images.
        distance: bits within which images count as looking alike here.
        near_other_label: kept images that look like one of another label in another drive.
        near_other_label_examples: pairs of such images, by file.
        warnings: what a person should look at.
    """

    offered: int
    sources: dict[str, SourceCount]
    quarantined: dict[str, dict[str, int]]
    left_out: dict[str, dict[str, int]]
    duplicates: tuple[CopyCount, ...]
    drives: int
    groups: int
    groups_merged: int
    groups_across_sources: int
    largest_groups: tuple[GroupSize, ...]
    distance: int
    near_other_label: int
    near_other_label_examples: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def kept(self) -> int:
        """Images of the manifest."""
        return sum(source.kept for source in self.sources.values())

    @property
    def duplicates_by_reason(self) -> dict[str, int]:
        """Copies by reason."""
        total: Counter[str] = Counter()
        for copy in self.duplicates:
            total[copy.reason] += copy.images
        return dict(sorted(total.items()))

    def to_json(self) -> str:
        """Indented JSON with a final line break."""
        return self.model_dump_json(indent=1) + "\n"

    @property
    def text(self) -> str:
        """Tables for a terminal."""
        from roadwork.data.fusion_page import render_text

        return render_text(self)

    @property
    def html(self) -> str:
        """One self-contained page."""
        from roadwork.data.fusion_page import render_page

        return render_page(self)


def fusion_report(manifest: Manifest, settings: FusionSettings | None = None) -> FusionReport:
    """Count what became of every row that the sources offered.

    Args:
        manifest: as ``ingest`` or ``fuse`` gave it.
        settings: with which it was fused; only ``near_duplicate_distance`` is used, to find
            images that look like one of another label.

    Raises:
        DataError: a copy names a kept row that is not there.
    """
    distance = (settings or FusionSettings()).near_duplicate_distance
    fault = manifest.quarantine.column("fault").to_numpy()
    damaged = manifest.quarantine.filter(pa.array(fault))
    left_out = manifest.quarantine.filter(pa.array(~fault))
    merging = _merging(manifest)
    pairs = _contradictions(manifest.table, distance)
    largest = _largest(manifest.table)
    sources = _sources(manifest, damaged, left_out)
    disputed = len(np.unique(pairs))
    return FusionReport(
        offered=sum(source.offered for source in sources.values()),
        sources=sources,
        quarantined=_by_reason(damaged),
        left_out=_by_reason(left_out),
        duplicates=_copies(manifest),
        **merging,
        largest_groups=largest,
        distance=distance,
        near_other_label=disputed,
        near_other_label_examples=tuple(_named(manifest.table, pairs[:_EXAMPLES])),
        warnings=tuple(_warnings(largest, disputed)),
    )


def _count(*columns: pa.ChunkedArray) -> dict[tuple[str, ...], int]:
    """How often every combination of texts occurs, sorted."""
    names, codes = zip(*(encode(column) for column in columns), strict=True)
    shape = [len(values) for values in names]
    if not len(codes[0]):
        return {}
    cells, counts = np.unique(np.ravel_multi_index(codes, shape), return_counts=True)
    rows = np.stack(np.unravel_index(cells, shape), axis=1)
    return {
        tuple(values[code] for values, code in zip(names, row, strict=True)): count
        for row, count in zip(rows.tolist(), counts.tolist(), strict=True)
    }


def _sources(manifest: Manifest, damaged: pa.Table, left_out: pa.Table) -> dict[str, SourceCount]:
    parts = {
        "kept": _count(manifest.table.column("source")),
        "duplicates": _count(manifest.duplicates.column("source")),
        "quarantined": _count(damaged.column("source")),
        "left_out": _count(left_out.column("source")),
    }
    names = sorted({name for part in parts.values() for (name,) in part})
    counts = {name: {key: part.get((name,), 0) for key, part in parts.items()} for name in names}
    return {name: SourceCount(offered=sum(own.values()), **own) for name, own in counts.items()}


def _by_reason(quarantine: pa.Table) -> dict[str, dict[str, int]]:
    table: dict[str, dict[str, int]] = {}
    for (reason, source), count in _count(
        quarantine.column("reason"), quarantine.column("source")
    ).items():
        table.setdefault(reason, {})[source] = count
    return table


def _copies(manifest: Manifest) -> tuple[CopyCount, ...]:
    ids = pc.SetLookupOptions(manifest.table.column("sample_id").combine_chunks())
    rows = pc.call_function("index_in", [manifest.duplicates.column("kept")], ids)
    if rows.null_count:
        raise DataError(
            f"{rows.null_count} duplicates name a kept row that the manifest does not have: ingest "
            "the sources again"
        )
    kept_source = manifest.table.column("source").take(rows)
    counted = _count(
        manifest.duplicates.column("reason"), manifest.duplicates.column("source"), kept_source
    )
    return tuple(
        CopyCount(reason=reason, source=source, kept_source=kept, images=images)
        for (reason, source, kept), images in counted.items()
    )


def _merging(manifest: Manifest) -> dict[str, int]:
    columns = ("group_id", "drive", "source")
    rows = pa.concat_tables(
        [manifest.table.select(columns), manifest.duplicates.select(columns)]
    ).combine_chunks()
    groups, group = encode(rows.column("group_id"))
    drives, drive = encode(rows.column("drive"))
    _, source = encode(rows.column("source"))

    def several(values: NDArray[np.int64]) -> int:
        least = np.full(len(groups), len(values))
        most = np.full(len(groups), -1)
        np.minimum.at(least, group, values)
        np.maximum.at(most, group, values)
        return int((least < most).sum())

    return {
        "drives": len(drives),
        "groups": len(groups),
        "groups_merged": several(drive),
        "groups_across_sources": several(source),
    }


def _largest(table: pa.Table) -> tuple[GroupSize, ...]:
    groups, group = encode(table.column("group_id"))
    _, drive = encode(table.column("drive"))
    images = np.bincount(group, minlength=len(groups))
    first = np.argsort(-images, kind="stable")[:_LISTED]
    return tuple(
        GroupSize(
            group=groups[number],
            images=int(images[number]),
            share=float(images[number] / table.num_rows),
            drives=len(np.unique(drive[group == number])),
        )
        for number in first.tolist()
    )


def _contradictions(table: pa.Table, distance: int) -> NDArray[np.int64]:
    """Pairs of kept rows of different drives and labels that look alike."""
    labels = table.column("label").to_numpy()
    _, drives = encode(table.column("drive"))
    pairs = near_pairs(table.column("phash").to_numpy(), distance, apart=labels)
    return pairs[drives[pairs[:, 0]] != drives[pairs[:, 1]]]


def _named(table: pa.Table, pairs: NDArray[np.int64]) -> Iterable[str]:
    files = table.column("file").take(pa.array(pairs.ravel())).to_pylist()
    labels = table.column("label").take(pa.array(pairs.ravel())).to_pylist()
    for place in range(0, len(files), 2):
        yield (
            f"{files[place]} (label {labels[place]}) and {files[place + 1]} "
            f"(label {labels[place + 1]})"
        )


def _warnings(largest: Sequence[GroupSize], disputed: int) -> Iterable[str]:
    for group in largest:
        if group.share > _LARGE and group.drives > 1:
            yield (
                f"the group {group.group} holds {group.share:.0%} of the images, merged from "
                f"{group.drives} drives: look-alikes may have chained drives together that have "
                "nothing in common; lower data.fusion.near_duplicate_distance, or remove pictures "
                "that many drives share, such as black frames"
            )
    if disputed:
        yield (
            f"{disputed} images look like one of another label in another drive: look at the "
            "examples, one of the labels may be wrong"
        )
