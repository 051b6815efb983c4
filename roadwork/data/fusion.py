"""Fusion: examined rows of all sources become one manifest without copies.

Two rows are *the same photograph* if their bytes are equal, or their ``capture`` (video, sequence
and frame) is. Of the same photograph one row stays; if its publications disagree about the label,
none can be believed and all go to quarantine. Rows *look alike* if their perceptual hashes nearly
agree, or, where asked for, their embeddings do. Rows of two drives that are the same or look alike
put both drives into one group, so that no split can separate them.

The keeper rule, wherever one of several rows stays: the source named earlier in ``data.sources``,
then more known slice columns, then more pixels, then the file name that sorts first.

With ``near_duplicates: drop`` look-alikes are thinned out too. Rows are gone through from best to
worst by the keeper rule; a row is set aside for the best row before it that stays, looks like it,
has its label and is of another drive. Neighbours within a drive are never set aside: consecutive
frames are meant to be there. A row that looks like one of *another label* in another drive is never
set aside either: one of the two labels may be wrong, and a person has to look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from roadwork.data.columns import encode
from roadwork.data.hamming import near_unique
from roadwork.data.manifest import DUPLICATES, QUARANTINE, SCHEMA, SLICES, Manifest
from roadwork.data.perceptual import clusters
from roadwork.data.thinning import Looks, thin_out
from roadwork.errors import ConfigError
from roadwork.settings.data import FusionSettings

__all__ = ["Embed", "fuse"]

Embed = Callable[[Sequence[str]], NDArray[np.floating]]
"""Gives the embeddings, shape (N, D), of the images at N addresses."""

_HELD_PAIRS = 1 << 22  # pairs held before they are reduced to components


def fuse(
    examined: pa.Table,
    settings: FusionSettings,
    source_order: NDArray[np.integer],
    embed: Embed | None = None,
) -> Manifest:
    """Set copies aside, quarantine contradictions, and merge the groups of look-alikes.

    Args:
        examined: rows of ``manifest.SCHEMA`` whose ``group_id`` and ``drive`` are the group as the
            source names it, in any order.
        settings: how near is near, and what becomes of look-alikes.
        source_order: for every row the place of its source in ``data.sources``, shape (N,).
        embed: gives embeddings; needed if ``settings.embedding_cosine`` is set. It is asked for
            one row of each photograph.

    Returns:
        The manifest, sorted by file; its quarantine holds the contradictions alone.

    Raises:
        ConfigError: ``embedding_cosine`` is set and there is no ``embed``.
    """
    if settings.embedding_cosine is not None and embed is None:
        raise ConfigError(
            "data.fusion.embedding_cosine needs embeddings, and none are computed here: set it to "
            "null, or call ingest with embed"
        )
    table, order = _sorted(examined, np.asarray(source_order))
    labels = table.column("label").to_numpy().astype(np.int64)
    photograph = _photographs(table)
    believed = ~_contradicted(photograph, labels)
    quarantine = _conflicts(table, ~believed, photograph, labels)

    table, labels = table.filter(pa.array(believed)), labels[believed]
    photograph = np.unique(photograph[believed], return_inverse=True)[1]
    rank = _ranks(table, order[believed])
    keeper = _best_of(photograph, rank)[photograph]
    first = keeper == np.arange(len(keeper))

    names, drives = encode(table.column("drive"))
    looks = Looks.of(table.column("phash").to_numpy(), labels, drives)
    alike = np.zeros((0, 2), dtype=np.int64)
    if settings.embedding_cosine is not None and embed is not None:
        alike = _alike(table, first, settings.embedding_cosine, embed)
    group = _groups(looks, photograph, alike, settings.near_duplicate_distance, len(names))
    named = pa.array(names, pa.string()).take(pa.array(group[drives]))
    table = table.set_column(SCHEMA.get_field_index("group_id"), SCHEMA.field("group_id"), named)

    near = np.full(len(keeper), -1, dtype=np.int64)
    if settings.near_duplicates == "drop":
        near = thin_out(looks, rank, first, alike, settings.near_duplicate_distance)
    # A copy of a row that was itself set aside points to the row that stays in the end.
    dropped = near[keeper] >= 0
    kept = np.where(dropped, near[keeper], keeper)
    stays = first & ~dropped
    return Manifest(
        table=table.filter(pa.array(stays)),
        quarantine=quarantine,
        duplicates=_duplicates(table, ~stays, kept, dropped),
    )


def _sorted(table: pa.Table, order: NDArray[np.integer]) -> tuple[pa.Table, NDArray[np.int64]]:
    keys = ["file", "order", "uri", "sha256", "drive"]
    table = table.append_column("order", pa.array(order, pa.int64()))
    table = table.sort_by([(key, "ascending") for key in keys])
    return table.drop_columns("order"), table.column("order").to_numpy()


def _photographs(table: pa.Table) -> NDArray[np.int64]:
    """Numbers of the photographs that rows are publications of, shape (N,)."""
    contents, content = encode(table.column("sha256"))
    captures, capture = encode(table.column("capture"))
    known = capture >= 0
    edges = np.stack([content[known], len(contents) + capture[known]], axis=1)
    return clusters(len(contents) + len(captures), edges)[content]


def _contradicted(photograph: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Rows of photographs that are published with different labels, shape (N,)."""
    size = int(photograph.max(initial=-1)) + 1
    least, most = np.full(size, np.iinfo(np.int64).max), np.full(size, -1)
    np.minimum.at(least, photograph, labels)
    np.maximum.at(most, photograph, labels)
    return (least < most)[photograph]


def _conflicts(
    table: pa.Table,
    chosen: NDArray[np.bool_],
    photograph: NDArray[np.int64],
    labels: NDArray[np.int64],
) -> pa.Table:
    """Quarantine of contradictions, each naming a row of another label."""
    rows = np.flatnonzero(chosen)
    low = np.lexsort((rows, labels[rows], photograph[rows]))
    high = np.lexsort((rows, -labels[rows], photograph[rows]))
    edge = np.searchsorted(photograph[rows][low], photograph[rows])
    least, most = rows[low[edge]], rows[high[edge]]
    other = pa.array(np.where(labels[rows] == labels[least], most, least))
    here, there = table.take(pa.array(rows)), table.take(other)
    named = zip(there.column("file").to_pylist(), there.column("source").to_pylist(), strict=True)
    detail = [
        f"is the same photograph as {file} ({source}), which has another label: correct one of "
        "them or remove both"
        for file, source in named
    ]
    return pa.table(
        {
            "file": here.column("file"),
            "source": here.column("source"),
            "reason": pa.array(["conflicting_label"] * len(rows), pa.string()),
            "detail": pa.array(detail, pa.string()),
            "fault": pa.array(np.ones(len(rows), dtype=bool)),
        },
        schema=QUARANTINE,
    )


def _ranks(table: pa.Table, order: NDArray[np.int64]) -> NDArray[np.int64]:
    """The place of every row under the keeper rule, best first, shape (N,)."""
    known = np.zeros(table.num_rows, dtype=np.int64)
    for name in SLICES:
        known += table.column(name).is_valid().to_numpy()
    width, height = (table.column(name).to_numpy().astype(np.int64) for name in ("width", "height"))
    by_rule = np.lexsort((-width * height, -known, order))  # stable: then as sorted, by file
    rank = np.empty(len(by_rule), dtype=np.int64)
    rank[by_rule] = np.arange(len(by_rule))
    return rank


def _best_of(members: NDArray[np.int64], rank: NDArray[np.int64]) -> NDArray[np.int64]:
    """The best row of every member number, shape (M,)."""
    by_rank = np.argsort(rank)
    return by_rank[np.unique(members[by_rank], return_index=True)[1]]


def _alike(
    table: pa.Table, first: NDArray[np.bool_], cosine: float, embed: Embed
) -> NDArray[np.int64]:
    """Pairs of rows whose embeddings agree."""
    from roadwork.data.embeddings import near_embeddings

    rows = np.flatnonzero(first)
    addresses = table.column("uri").take(pa.array(rows)).to_pylist()
    return rows[near_embeddings(np.asarray(embed(addresses)), cosine)]


def _groups(
    looks: Looks,
    photograph: NDArray[np.int64],
    alike: NDArray[np.int64],
    distance: int,
    n_drives: int,
) -> NDArray[np.int64]:
    """For every drive the first drive that it belongs together with, shape (D,).

    Drives, hashes and photographs are the nodes of one graph: a row joins its drive with its hash
    and with its photograph. So rows of one hash need no pairs among themselves.
    """
    drives = looks.drives
    hash_node = n_drives + looks.hash_of_row
    photograph_node = n_drives + len(looks.unique) + photograph
    n = int(photograph_node.max(initial=n_drives - 1)) + 1
    edges = [
        np.stack([drives, hash_node], axis=1),
        np.stack([drives, photograph_node], axis=1),
        drives[alike],
    ]
    node = clusters(n, np.concatenate(edges))
    for near in _gathered(near_unique(looks.unique, distance)):
        joined = node[near + n_drives]
        node = clusters(n, joined[joined[:, 0] != joined[:, 1]])[node]
    return node[:n_drives]


def _gathered(pieces: Iterator[NDArray[np.int64]]) -> Iterator[NDArray[np.int64]]:
    """The same pairs in fewer, larger pieces."""
    held: list[NDArray[np.int64]] = []
    for piece in pieces:
        held.append(piece)
        if sum(map(len, held)) >= _HELD_PAIRS:
            yield np.concatenate(held)
            held = []
    if held:
        yield np.concatenate(held)


def _duplicates(
    table: pa.Table,
    chosen: NDArray[np.bool_],
    kept: NDArray[np.int64],
    near: NDArray[np.bool_],
) -> pa.Table:
    """Rows left out, with the row that stays in their place and the reason."""
    rows = np.flatnonzero(chosen)
    copies, stay = table.take(pa.array(rows)), table.take(pa.array(kept[rows]))
    both = [*copies.column("sha256").chunks, *stay.column("sha256").chunks]
    contents = encode(pa.chunked_array(both, pa.string()))[1]
    equal = contents[: len(rows)] == contents[len(rows) :]
    reason = np.where(near[rows], "near", np.where(equal, "content", "capture"))
    values = [*copies.columns, stay.column("sample_id"), pa.array(reason, pa.string())]
    return pa.table(values, schema=DUPLICATES)
