"""Loading: photographs of a sample set as batches of views, in an order that can be resumed.

The order of a pass and every random choice depend on the seed, the pass and the row alone, never
on what happened before. So training that is stopped in the middle of a pass and goes on later
sees exactly the batches that an uninterrupted run sees.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from roadwork.data.decode import UnreadableImage, decode_image
from roadwork.data.manifest import SampleSet
from roadwork.data.views import make_views, view_count
from roadwork.errors import DataError

__all__ = ["BatchStream", "ViewReader", "row_generator"]

_CACHE_BYTES = 2 << 30


def read_image(uri: str) -> Image.Image:
    """Decode a photograph that ingest accepted before.

    Raises:
        DataError: it can no longer be read; the file was changed or removed since.
    """
    try:
        return decode_image(Path(uri), max_megapixels=math.inf)
    except UnreadableImage as refusal:
        raise DataError(
            f"{uri} was readable at ingest and now {refusal.detail}: restore it, or run ingest "
            "again"
        ) from None


class ViewReader:
    """Views of a set's photographs by row, kept in memory as long as all of them fit."""

    def __init__(self, dataset: SampleSet, size: int, tiles: int, workers: int = 2) -> None:
        """Nothing is read yet."""
        self.uris = dataset.uris
        self.size = size
        self.tiles = tiles
        self.workers = max(1, workers)
        self.shape = (view_count(tiles), size, size, 3)
        fits = len(self.uris) * math.prod(self.shape) <= _CACHE_BYTES
        self._cache: dict[int, NDArray[np.uint8]] | None = {} if fits else None

    def __len__(self) -> int:
        return len(self.uris)

    def __call__(self, row: int) -> NDArray[np.uint8]:
        """uint8 views (V, S, S, 3) of one row."""
        if self._cache is not None and row in self._cache:
            return self._cache[row]
        views = make_views(read_image(self.uris[row]), self.size, self.tiles)
        if self._cache is not None:
            self._cache[row] = views
        return views

    def batches(self, size: int) -> Iterator[NDArray[np.uint8]]:
        """All rows in order, (B, V, S, S, 3) at a time; the next batch is decoded meanwhile."""
        with ThreadPoolExecutor(self.workers) as pool:
            starts = range(0, len(self), size)
            ahead = [pool.submit(self, row) for row in range(0, min(size, len(self)))]
            for start in starts:
                current = ahead
                after = range(start + size, min(start + 2 * size, len(self)))
                ahead = [pool.submit(self, row) for row in after]
                yield np.stack([future.result() for future in current])


def row_generator(seed: int, epoch: int, row: int) -> np.random.Generator:
    """The random numbers that belong to one row in one pass."""
    return np.random.default_rng(np.random.SeedSequence([seed, epoch, row]))


class BatchStream:
    """Shuffled batches of a pass; can be stopped and resumed between any two batches.

    Lightning calls :meth:`set_epoch` through ``sampler``, and saves :meth:`state_dict` in every
    checkpoint, so that a resumed pass starts with the batch after the last finished one.
    """

    def __init__(
        self,
        rows: int,
        batch_size: int,
        seed: int,
        make_batch: Callable[[NDArray[np.int64], int], dict[str, Tensor]],
    ) -> None:
        """``make_batch(rows, epoch)`` gives the tensors of one batch."""
        self.rows = rows
        self.batch_size = min(batch_size, rows)
        self.seed = seed
        self.epoch = 0
        self._start = 0
        self._next = 0
        self._make = make_batch

    def __len__(self) -> int:
        return self.rows // self.batch_size

    @property
    def sampler(self) -> BatchStream:
        """Lightning looks here for :meth:`set_epoch`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the pass."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.rows)
        start, self._start = self._start, 0
        with ThreadPoolExecutor(1) as pool:
            ahead = None
            for index in range(start, len(self)):
                future = ahead or pool.submit(self._batch, order, index)
                ahead = (
                    pool.submit(self._batch, order, index + 1) if index + 1 < len(self) else None
                )
                batch = future.result()
                self._next = index + 1
                yield batch

    def _batch(self, order: NDArray[np.int64], index: int) -> dict[str, Tensor]:
        rows = order[index * self.batch_size : (index + 1) * self.batch_size]
        return self._make(rows, self.epoch)

    def state_dict(self) -> dict[str, Any]:
        """Where the pass is."""
        return {"next": self._next % len(self)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self._start = int(state["next"])


def as_tensor(views: list[NDArray[np.uint8]]) -> Tensor:
    """Stack views to one tensor (B, V, S, S, 3)."""
    return torch.from_numpy(np.stack(views))
