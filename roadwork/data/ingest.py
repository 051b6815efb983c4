"""Ingest: rows of a source, checked image by image, become the manifest.

Nothing is dropped in silence: an unusable file is listed in the quarantine with its reason, an
exact copy is listed among the duplicates, and near-duplicates are merged into one group.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter, defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa

from roadwork.data.decode import Refusal, UnreadableImage, decode_image
from roadwork.data.manifest import QUARANTINE, SCHEMA, SLICES, Manifest
from roadwork.data.perceptual import clusters, near_pairs, perceptual_hash
from roadwork.data.sources.rows import SourceRow
from roadwork.errors import DataError
from roadwork.progress import progress
from roadwork.settings import DataSettings

__all__ = ["ingest"]

logger = logging.getLogger(__name__)


def ingest(rows: Iterable[SourceRow], settings: DataSettings) -> Manifest:
    """Decode, hash and group every row.

    Raises:
        DataError: no usable image, or a larger share of unusable ones than the settings allow.
    """
    listed = sorted(rows, key=lambda row: row.file)
    if not listed:
        raise DataError("the source gives no images: check data.source")
    usable: list[dict[str, Any]] = []
    refused: list[dict[str, str]] = []
    with (
        ThreadPoolExecutor(max(1, settings.workers)) as pool,
        progress("Reading images") as update,
    ):
        examined = pool.map(lambda row: _examine(row, settings.max_megapixels), listed)
        for number, (row, result) in enumerate(zip(listed, examined, strict=True), start=1):
            if isinstance(result, dict):
                usable.append(result)
            else:
                refused.append(_refusal(row, *result))
            update(number, len(listed))
    usable, conflicting = _without_conflicts(usable)
    refused += conflicting
    _check_share(refused, len(listed), settings.max_quarantine_share)
    kept, copies = _merge(usable, settings.near_duplicate_distance)
    logger.info(
        "%d images in %d groups; %d exact copies left out; %d in quarantine",
        len(kept),
        len({row["group_id"] for row in kept}),
        len(copies),
        len(refused),
    )
    return Manifest(
        table=pa.Table.from_pylist(kept, schema=SCHEMA),
        quarantine=pa.Table.from_pylist(
            sorted(refused, key=lambda row: row["file"]), schema=QUARANTINE
        ),
        duplicates=pa.Table.from_pylist(copies, schema=SCHEMA),
    )


def _examine(row: SourceRow, max_megapixels: float) -> dict[str, Any] | tuple[str, str]:
    """The manifest's row, or the reason and detail why there is none."""
    if row.label is None:
        return "no_label", "the source gives no known label for it"
    if not row.group:
        return "no_group", "the source gives no group for it"
    try:
        data = row.path.read_bytes()
    except OSError as error:
        return Refusal.MISSING, f"cannot be read: {error.strerror}"
    try:
        image = decode_image(data, max_megapixels)
    except UnreadableImage as refusal:
        return refusal.reason, refusal.detail
    sha256 = hashlib.sha256(data).hexdigest()
    return {
        "sample_id": sha256[:16],
        "uri": str(row.path),
        "file": row.file,
        "sha256": sha256,
        "phash": perceptual_hash(image),
        "group_id": row.group,
        "drive": row.group,
        "source": row.source,
        "label": row.label,
        "width": image.width,
        "height": image.height,
        "bytes": len(data),
        **{name: row.slices.get(name) for name in SLICES},
    }


def _refusal(row: SourceRow, reason: str, detail: str) -> dict[str, str]:
    return {"file": row.file, "source": row.source, "reason": str(reason), "detail": detail}


def _without_conflicts(
    rows: list[dict[str, Any]],
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Identical images with different labels: none of them can be believed."""
    labels: dict[str, set[int]] = defaultdict(set)
    for row in rows:
        labels[row["sha256"]].add(row["label"])
    good = [row for row in rows if len(labels[row["sha256"]]) == 1]
    bad = [
        {
            "file": row["file"],
            "source": row["source"],
            "reason": "conflicting_label",
            "detail": "an identical image has another label",
        }
        for row in rows
        if len(labels[row["sha256"]]) > 1
    ]
    return good, bad


def _check_share(refused: list[dict[str, str]], total: int, most: float) -> None:
    share = len(refused) / total
    if len(refused) == total or share > most:
        reasons = ", ".join(
            f"{count} {reason}"
            for reason, count in Counter(row["reason"] for row in refused).most_common()
        )
        examples = "; ".join(f"{row['file']}: {row['detail']}" for row in refused[:3])
        raise DataError(
            f"{len(refused)} of {total} images cannot be used ({reasons}), more than the share of "
            f"{most:.1%} that data.max_quarantine_share allows. For example {examples}. Repair or "
            "remove them, or raise the limit."
        )


def _merge(
    rows: list[dict[str, Any]], distance: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Unite the groups of near-duplicates and of exact copies; then set the copies aside."""
    if not rows:
        return [], []
    names = sorted({row["drive"] for row in rows})
    number = {name: index for index, name in enumerate(names)}
    hashes = np.array([row["phash"] for row in rows], dtype=np.uint64)
    drives = [number[row["drive"]] for row in rows]
    pairs = {
        (min(drives[i], drives[j]), max(drives[i], drives[j]))
        for i, j in near_pairs(hashes, distance)
        if drives[i] != drives[j]
    }
    merged = clusters(len(names), sorted(pairs))
    first: dict[str, str] = {}
    kept, copies = [], []
    for row, drive in zip(rows, drives, strict=True):
        row = {**row, "group_id": names[merged[drive]]}
        (copies if row["sha256"] in first else kept).append(row)
        first.setdefault(row["sha256"], row["file"])
    return kept, copies
