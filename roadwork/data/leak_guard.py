"""Leak guard of the metadata: how much a missing word gives the label away.

In NATIX the descriptive columns are filled for images with roadwork and empty for the others. A
model that saw them would read the label off; ours is given pixels alone, and these columns serve
for slices. The guard measures the leak, so that nobody makes them an input later on.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from roadwork import CLASSES
from roadwork.data.manifest import SLICES

__all__ = ["LABEL_MADE", "LeakGuard", "leak_guard"]

LABEL_MADE: tuple[str, ...] = ("works_size",)
"""Slice columns that describe the works themselves: known for positives alone, by definition."""


class LeakGuard(BaseModel):
    """What NULL tells about the label.

    Attributes:
        null_shares: share of NULL in every slice column, by class; None for a class without rows.
        pooled: AUROC of the pattern of NULLs over all rows, or None where a class is missing.
        within_source: the same over pairs of rows of one source each.

    Both figures are of the best order of the patterns on these very rows: with few rows they are
    somewhat too high. Columns of :data:`LABEL_MADE` are shown but do not count.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    null_shares: Mapping[str, Mapping[str, float | None]]
    pooled: float | None
    within_source: float | None


def leak_guard(table: pa.Table) -> LeakGuard:
    """Measure the leak in rows of a manifest's table."""
    positive = table.column("label").to_numpy() > 0
    missing = {name: np.asarray(table.column(name).is_null()) for name in SLICES}
    pattern = np.zeros(table.num_rows, dtype=np.int64)
    for name in SLICES:
        if name not in LABEL_MADE:
            pattern = 2 * pattern + missing[name]
    encoded = table.column("source").combine_chunks().dictionary_encode()
    source = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return LeakGuard(
        null_shares={
            name: {
                word: float(column[positive == bool(label)].mean())
                if (positive == bool(label)).any()
                else None
                for label, word in enumerate(CLASSES)
            }
            for name, column in missing.items()
        },
        pooled=_auroc(np.zeros_like(source), pattern, positive),
        within_source=_auroc(source, pattern, positive),
    )


def _auroc(
    source: NDArray[np.int64], pattern: NDArray[np.int64], positive: NDArray[np.bool_]
) -> float | None:
    """Best AUROC of the patterns, over pairs of a positive and a negative of one source."""
    width = 1 << (len(SLICES) - len(LABEL_MADE))
    size = width * (int(source.max()) + 1 if len(source) else 0)
    cell = source * width + pattern
    hits = np.bincount(cell[positive], minlength=size).reshape(-1, width)
    misses = np.bincount(cell[~positive], minlength=size).reshape(-1, width)
    # Ascending share of positives: a negative below, or half of one beside, is a pair won.
    order = np.argsort(hits / np.maximum(hits + misses, 1), axis=1, kind="stable")
    hits = np.take_along_axis(hits, order, axis=1).astype(np.float64)
    misses = np.take_along_axis(misses, order, axis=1).astype(np.float64)
    won = hits * (np.cumsum(misses, axis=1) - misses / 2)
    pairs = float((hits.sum(axis=1) * misses.sum(axis=1)).sum())
    return float(won.sum() / pairs) if pairs else None
