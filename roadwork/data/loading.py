"""Loading: photographs of a sample set as batches of views, in an order that can be resumed.

The order of a pass and every random choice depend on the seed, the pass and the row alone, never
on what happened before. So training that is stopped in the middle of a pass and goes on later
sees exactly the batches that an uninterrupted run sees.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from roadwork.data.decode import UnreadableImage, decode_image
from roadwork.data.manifest import SampleSet
from roadwork.data.order import LearningOrder, Order, Shuffled
from roadwork.data.storage import read_bytes
from roadwork.data.views import Tiles, make_views, view_count
from roadwork.errors import ConfigError, DataError

__all__ = ["BatchStream", "ViewReader", "row_generator"]

_CACHE_BYTES = 2 << 30


def read_image(uri: str, read: Callable[[str], bytes] = read_bytes) -> Image.Image:
    """Decode a photograph that ingest accepted before.

    Args:
        uri: its address.
        read: gives the bytes of an address.

    Raises:
        DataError: it can no longer be read; the file was changed or removed since.
    """
    try:
        return decode_image(read(uri), max_megapixels=math.inf)
    except UnreadableImage as refusal:
        reason = refusal.detail
    except FileNotFoundError:
        reason = "the file does not exist"
    except OSError as error:
        reason = f"cannot be read: {error.strerror or error}"
    raise DataError(
        f"{uri} was readable at ingest and now {reason}: restore it, or run ingest again"
    )


class ViewReader:
    """Views of a set's photographs by row, kept in memory as long as all of them fit.

    Whoever reads the same set with the same size and tiles takes the same reader, so that every
    photograph is decoded once.
    """

    def __init__(
        self,
        dataset: SampleSet,
        size: int,
        tiles: Tiles,
        workers: int = 2,
        read: Callable[[str], bytes] = read_bytes,
    ) -> None:
        """Nothing is read yet.

        Args:
            dataset: whose photographs.
            size: edge of a view in pixels.
            tiles: how a picture is cut (:mod:`roadwork.data.views`).
            workers: threads that read and decode.
            read: gives the bytes of an address; ``ShardCache(...).read_bytes`` keeps whole shards
                of an object store on the local disk.
        """
        self.uris = dataset.uris
        self.read = read
        self.size = size
        self.tiles: Tiles = tiles
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
        views = make_views(read_image(self.uris[row], self.read), self.size, self.tiles)
        if self._cache is not None:
            self._cache[row] = views
        return views

    def take(self, rows: Iterable[int]) -> NDArray[np.uint8]:
        """uint8 views (B, V, S, S, 3) of some rows, those not in memory decoded by the workers."""
        wanted = [int(row) for row in rows]
        missing = {row for row in wanted if self._cache is None or row not in self._cache}
        if self.workers == 1 or len(missing) < 2:
            return np.stack([self(row) for row in wanted])
        with ThreadPoolExecutor(self.workers) as pool:
            found = dict(zip(missing, pool.map(self, missing), strict=True))
        return np.stack([found[row] if row in found else self(row) for row in wanted])

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
    """Batches of a pass; can be stopped and resumed between any two batches.

    Lightning calls :meth:`set_epoch` through ``sampler``, and saves :meth:`state_dict` in every
    checkpoint, so that a resumed pass starts with the batch after the last finished one.

    With several processes each takes an equal, contiguous part of the same order: disjoint, and
    with :class:`~roadwork.data.order.ShardOrder` from shards of its own.
    """

    def __init__(
        self,
        rows: int,
        batch_size: int,
        seed: int,
        make_batch: Callable[[NDArray[np.int64], int], dict[str, Tensor]],
        order: Order | None = None,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        """``make_batch(rows, epoch)`` gives the tensors of one batch.

        Args:
            rows: rows of a pass, of all processes together.
            batch_size: rows of a batch of one process; at most as many as the process has.
            seed: of the default order.
            make_batch: called in another thread, one batch ahead of use.
            order: rows of each pass; default: :class:`~roadwork.data.order.Shuffled`.
            rank: number of this process.
            world: number of processes.

        Raises:
            ConfigError: there are fewer rows than processes, or no such rank.
        """
        if not 0 <= rank < world:
            raise ConfigError(f"there is no rank {rank} among {world} processes: count from 0")
        if rows < world:
            raise ConfigError(
                f"{rows} training rows cannot be shared by {world} processes: use fewer"
            )
        self.rows = rows
        self.batch_size = min(batch_size, rows // world)
        self.seed = seed
        self.order: Order = Shuffled(rows, seed) if order is None else order
        self.rank = rank
        self.world = world
        self.epoch = 0
        self._start = 0
        self._next = 0
        self._make = make_batch

    def __len__(self) -> int:
        return self.rows // self.world // self.batch_size

    @property
    def sampler(self) -> BatchStream:
        """Lightning looks here for :meth:`set_epoch`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the pass."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        order = self._part()
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

    def _part(self) -> NDArray[np.int64]:
        """This process's part of the pass: as many rows as every other's."""
        order = self.order(self.epoch)
        if len(order) != self.rows:
            raise ValueError(f"the order gives {len(order)} rows for a pass of {self.rows}")
        size = len(self) * self.batch_size
        return order[self.rank * size : (self.rank + 1) * size]

    def _batch(self, order: NDArray[np.int64], index: int) -> dict[str, Tensor]:
        rows = order[index * self.batch_size : (index + 1) * self.batch_size]
        return self._make(rows, self.epoch)

    def state_dict(self) -> dict[str, Any]:
        """Where the pass is, and what the order has learned."""
        state: dict[str, Any] = {"next": self._next % len(self)}
        if isinstance(self.order, LearningOrder):
            state["order"] = self.order.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self._start = self._next = int(state["next"])
        if isinstance(self.order, LearningOrder):
            self.order.load_state_dict(state["order"])


def as_tensor(views: list[NDArray[np.uint8]]) -> Tensor:
    """Stack views to one tensor (B, V, S, S, 3)."""
    return torch.from_numpy(np.stack(views))
