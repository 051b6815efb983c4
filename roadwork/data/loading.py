"""Loading: photographs of a sample set as batches of views, in an order that can be resumed.

The order of a pass and every random choice depend on the seed, the pass and the row alone, never
on what happened before. So training that is stopped in the middle of a pass and goes on later
sees exactly the batches that an uninterrupted run sees.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
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
from roadwork.data.view_cache import ViewFolder
from roadwork.data.views import Tiles, make_views, view_count
from roadwork.errors import ConfigError, DataError

__all__ = ["BatchStream", "ViewReader", "batch_share", "row_generator"]

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
    """Views of a set's photographs by row, kept in memory if all of them fit, else on disk.

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
        folder: ViewFolder | None = None,
    ) -> None:
        """Nothing is read yet.

        Args:
            dataset: whose photographs.
            size: edge of a view in pixels.
            tiles: how a picture is cut (:mod:`roadwork.data.views`).
            workers: threads that read and decode.
            read: gives the bytes of an address; ``ShardCache(...).read_bytes`` keeps whole shards
                of an object store on the local disk.
            folder: keeps views that do not fit into memory; None: they are decoded each time.
        """
        self.uris = dataset.uris
        self.read = read
        self.size = size
        self.tiles: Tiles = tiles
        self.workers = max(1, workers)
        self.shape = (view_count(tiles), size, size, 3)
        fits = len(self.uris) * math.prod(self.shape) <= _CACHE_BYTES
        self._cache: dict[int, NDArray[np.uint8]] | None = {} if fits else None
        self._disk = None if fits or folder is None else folder.open(dataset, size, tiles)
        # Its threads start with the first work and end with the reader.
        self._pool = ThreadPoolExecutor(self.workers, "views")

    def __len__(self) -> int:
        return len(self.uris)

    def __call__(self, row: int) -> NDArray[np.uint8]:
        """uint8 views (V, S, S, 3) of one row."""
        if self._cache is not None and row in self._cache:
            return self._cache[row]
        views = None if self._disk is None else self._disk.get(row)
        if views is None:
            views = make_views(read_image(self.uris[row], self.read), self.size, self.tiles)
            if self._disk is not None:
                self._disk.put(row, views)
        if self._cache is not None:
            self._cache[row] = views
        return views

    def take(
        self, rows: Iterable[int], mirrored: NDArray[np.bool_] | None = None
    ) -> NDArray[np.uint8]:
        """uint8 views (B, V, S, S, 3) of some rows, made and mirrored by the workers.

        Args:
            rows: (B,), in any order; rows that occur twice are decoded once.
            mirrored: (B,), whose left and right are exchanged; by default none's.
        """
        wanted = [int(row) for row in rows]
        flip = np.zeros(len(wanted), dtype=np.bool_) if mirrored is None else mirrored
        batch = np.empty((len(wanted), *self.shape), dtype=np.uint8)
        places: dict[int, list[int]] = {}
        for place, row in enumerate(wanted):
            places.setdefault(row, []).append(place)

        def fill(row: int) -> None:
            views = self(row)
            for place in places[row]:
                _copy(views, batch[place], mirror=bool(flip[place]))

        # Within one thread there is nothing to wait for, and no thread to hand work to.
        list(map(fill, places) if self.workers == 1 else self._pool.map(fill, places))
        return batch

    def batches(
        self, size: int, rows: Sequence[int] | NDArray[np.int64] | None = None
    ) -> Iterator[NDArray[np.uint8]]:
        """Rows in order, by default all, (B, V, S, S, 3) at a time.

        The next batch is decoded meanwhile.
        """
        wanted = range(len(self)) if rows is None else rows
        ahead = [self._pool.submit(self, int(row)) for row in wanted[:size]]
        for start in range(0, len(wanted), size):
            current = ahead
            after = wanted[start + size : start + 2 * size]
            ahead = [self._pool.submit(self, int(row)) for row in after]
            yield np.stack([future.result() for future in current])


def _copy(views: NDArray[np.uint8], to: NDArray[np.uint8], *, mirror: bool) -> None:
    if not mirror:
        to[:] = views
        return
    # A colour at a time: numpy copies three long rows faster than many pixels of three bytes.
    for colour in range(views.shape[-1]):
        to[..., colour] = views[:, :, ::-1, colour]


def row_generator(seed: int, epoch: int, row: int) -> np.random.Generator:
    """The random numbers that belong to one row in one pass."""
    return np.random.default_rng(np.random.SeedSequence([seed, epoch, row]))


def batch_share(rows: int, batch_size: int, world: int) -> int:
    """How many rows of a batch each of several processes takes.

    Raises:
        ConfigError: a batch has too few rows, or does not come out even.
    """
    size = min(batch_size, rows)
    if size % world:
        short = f" (there are only {rows} training rows)" if rows < batch_size else ""
        raise ConfigError(
            f"a batch of {size} rows{short} cannot be shared equally by {world} processes: make "
            "batch_size a multiple of compute.processes"
        )
    return size // world


class BatchStream:
    """Batches of a pass; can be stopped and resumed between any two batches.

    Lightning calls :meth:`set_epoch` through ``sampler``, and saves :meth:`state_dict` in every
    checkpoint, so that a resumed pass starts with the batch after the last finished one.

    With several processes each takes its slice of every batch. So together they see the batches
    that one process sees, in the same order, and a pass that some of them began can be finished by
    more, or by fewer.
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
            batch_size: rows of a batch, of all processes together; at most ``rows``.
            seed: of the default order.
            make_batch: called in another thread, one batch ahead of use.
            order: rows of each pass; default: :class:`~roadwork.data.order.Shuffled`.
            rank: number of this process.
            world: number of processes.

        Raises:
            ConfigError: a batch cannot be shared equally, or there is no such rank.
        """
        if not 0 <= rank < world:
            raise ConfigError(f"there is no rank {rank} among {world} processes: count from 0")
        self.rows = rows
        self.share = batch_share(rows, batch_size, world)
        self.batch_size = world * self.share
        self.seed = seed
        self.order: Order = Shuffled(rows, seed) if order is None else order
        self.rank = rank
        self.world = world
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
        order = self._order()
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

    def _order(self) -> NDArray[np.int64]:
        order = self.order(self.epoch)
        if len(order) != self.rows:
            raise ValueError(f"the order gives {len(order)} rows for a pass of {self.rows}")
        return order

    def _batch(self, order: NDArray[np.int64], index: int) -> dict[str, Tensor]:
        start = index * self.batch_size + self.rank * self.share
        return _pinned(self._make(order[start : start + self.share], self.epoch))

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


def _pinned(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """With a CUDA device, in memory from which it copies while the host goes on."""
    if not torch.cuda.is_available():
        return batch
    return {name: value.pin_memory() for name, value in batch.items()}
