"""Order: which rows a pass of training sees, and in which order.

Every order is a function of the pass alone, so that a pass can be drawn again by whoever resumes
it, on any machine. Orders that learn while they are used also have ``state_dict`` and
``load_state_dict``; their state is saved with every checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from roadwork.data.storage import container_of

__all__ = ["LearningOrder", "Order", "ShardOrder", "Shuffled"]


class Order(Protocol):
    """Rows of a pass."""

    def __call__(self, epoch: int) -> NDArray[np.int64]:
        """Row numbers in order; the same count in every pass; rows may be repeated."""
        ...


@runtime_checkable
class LearningOrder(Protocol):
    """An order that depends on what was seen before the pass, and says so in its state.

    The state of an unfinished pass must draw that same pass again: what is learned within a pass
    counts from the next pass on.
    """

    def __call__(self, epoch: int) -> NDArray[np.int64]:
        """As :class:`Order`."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        ...


class Shuffled:
    """All rows once, in a new random order every pass."""

    def __init__(self, rows: int, seed: int) -> None:
        """Nothing is drawn yet."""
        self.rows = rows
        self.seed = seed

    def __call__(self, epoch: int) -> NDArray[np.int64]:
        """Permutation of ``range(rows)``, shape (rows,)."""
        return np.random.default_rng([self.seed, epoch]).permutation(self.rows)


class ShardOrder:
    """All rows once; the rows of a few shards are mixed, then those of the next few.

    Shards are shuffled, and rows are shuffled within windows of consecutive shards, so that a pass
    reads every shard once and keeps no more than a window of them at hand. Shards whose rows were
    shuffled when they were written (:func:`roadwork.data.shards.write_shards`) make this nearly as
    good a mix as a full permutation.

    Several processes share every batch, so each of them reads every shard once a pass, whole shards
    from an object store included: N machines fetch N times as much as one. Processes of one machine
    share their cache of shards, and fetch each shard once as long as a window fits into it.
    """

    def __init__(self, shards: NDArray[np.int64], seed: int, window: int = 4) -> None:
        """Nothing is drawn yet.

        Args:
            shards: number of every row's shard, 0 … K-1, shape (N,).
            seed: of all passes.
            window: shards that are mixed.
        """
        self.shards = shards
        self.seed = seed
        self.window = max(1, window)

    @classmethod
    def of(cls, uris: Sequence[str], seed: int, window: int = 4) -> Self:
        """The order of addresses in containers; an address outside of any is its own shard."""
        files = [container_of(uri) or uri for uri in uris]
        return cls(np.unique(files, return_inverse=True)[1].astype(np.int64), seed, window)

    def __call__(self, epoch: int) -> NDArray[np.int64]:
        """Permutation of ``range(N)``, shape (N,)."""
        random = np.random.default_rng([self.seed, epoch])
        count = int(self.shards.max()) + 1
        windows = random.permutation(count) // self.window
        rows = random.permutation(len(self.shards))
        # Few bits, because numpy sorts those in linear time.
        keys = windows.astype(np.min_scalar_type(count))[self.shards[rows]]
        return rows[np.argsort(keys, kind="stable")]
