"""Which calibration points count, when several come from one group.

Images of one drive resemble each other, so that they are not exchangeable with an image of a new
drive; drives are exchangeable with drives. One score per group makes the promise exact again, for
what that score stands for:

- ``images``: every image counts. Exact for exchangeable images; roughly true for a new group's.
- ``drawn``: one image of every group, by lot. Exact for an image drawn from a new group by lot.
- ``largest``: the largest score of every group. Exact for all images of a new group at once: none
  of its sets misses. The strongest promise, with the largest sets.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roadwork.calibration.base import FloatArray
from roadwork.conformal.rows import Rows, uniforms
from roadwork.errors import ConfigError, DataError

__all__ = ["Counting", "count_groups", "counted_rows"]

Counting = Literal["images", "drawn", "largest"]


def count_groups(groups: ArrayLike | None, rows: int) -> int | None:
    """Number of different groups among ``rows`` points, or None when groups are not given.

    Raises:
        DataError: there is not one group per row.
    """
    if groups is None:
        return None
    array = np.asarray(groups)
    if array.shape != (rows,):
        raise DataError(f"groups must have shape ({rows},) like the rows, but have {array.shape}.")
    return len(np.unique(array))


def counted_rows(
    counting: Counting,
    scores: FloatArray,
    groups: ArrayLike | None,
    rows: Rows | None = None,
    cells: NDArray[np.int64] | None = None,
    seed: int = 0,
) -> NDArray[np.int64]:
    """Rows that count, in row order: all of them, or one of every group within every cell.

    Lots are drawn by the identities of the images (:func:`~roadwork.conformal.rows.uniforms`),
    without a look at the scores. Of equals the first row counts.

    Args:
        counting: see above.
        scores: (N,) of the true labels.
        groups: (N,) group of every point.
        rows: their ids, for ``drawn``.
        cells: (N,) class or slice of every point, where each has a threshold of its own.
        seed: of the lot.

    Raises:
        ConfigError: one image per group is wanted and the groups, or the ids, are not known.
        DataError: there is not one group or one id per row.
    """
    n = len(scores)
    count_groups(groups, n)
    if counting == "images":
        return np.arange(n)
    if groups is None:
        raise ConfigError(f"groups: {counting} takes one image per group: pass the groups.")
    if counting == "largest":
        first = -scores
    elif rows is None or rows.ids is None:
        raise ConfigError("groups: drawn draws an image by its identity: pass Rows(ids=...).")
    else:
        first = uniforms(seed, rows.ids, "group")
        if len(first) != n:
            raise DataError(f"{len(first)} ids for {n} rows.")
    names = np.unique(np.asarray(groups), return_inverse=True)[1].reshape(-1)
    of_cell = np.zeros(n, dtype=np.int64) if cells is None else cells
    order = np.lexsort((np.arange(n), first, names, of_cell))
    starts = np.ones(n, dtype=np.bool_)
    starts[1:] = (np.diff(names[order]) != 0) | (np.diff(of_cell[order]) != 0)
    return np.sort(order[starts])
