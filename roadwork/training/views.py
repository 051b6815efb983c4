"""Views of whole sets: who reads a set, and who keeps what was read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from roadwork.data.loading import ViewReader
from roadwork.data.manifest import SampleSet
from roadwork.data.shard_cache import ShardCache
from roadwork.data.storage import is_remote, read_bytes
from roadwork.data.view_cache import ViewFolder
from roadwork.settings import Settings

__all__ = ["OpenViews", "SharedViews", "image_reader", "open_views"]

OpenViews = Callable[[SampleSet], ViewReader]
"""Gives the reader of a set. Callers who train several times keep readers, and so decoded views."""

_SHARED_BYTES = 2 << 30


def open_views(settings: Settings) -> OpenViews:
    """As resolved settings say: a new reader for every set.

    Remote shards are kept on the local disk, and so are the views of sets larger than memory.
    """
    size = settings.backbone.image_size
    assert isinstance(size, int), "resolve the settings first"
    tiles, workers = settings.backbone.views.tiles, settings.data.workers
    read, folder = image_reader(settings), view_folder(settings)
    return lambda dataset: ViewReader(dataset, size, tiles, workers, read, folder)


def view_folder(settings: Settings) -> ViewFolder | None:
    """Where views that memory does not hold are kept; None: they are decoded each time."""
    room = int(settings.compute.view_cache_gigabytes * 1e9)
    return ViewFolder(Path(settings.runs or "runs") / "views", room) if room else None


def image_reader(settings: Settings) -> Callable[[str], bytes]:
    """Gives the bytes of an address; shards of an object store through a cache in ``runs``."""
    wanted = settings.data.shards
    if wanted.to is None or not is_remote(wanted.to):
        return read_bytes
    folder = Path(settings.runs or "runs") / "shards"
    return ShardCache(folder, int(wanted.cache_gigabytes * (1 << 30))).read_bytes


class SharedViews:
    """Readers of many sets cut from the same photographs, of which each is decoded once.

    What does not fit into memory is decoded again, but for sets that alone are larger than memory:
    their views are kept on disk, as those of :func:`open_views`.
    """

    def __init__(self, settings: Settings, memory: int = _SHARED_BYTES) -> None:
        """Nothing is read yet.

        Args:
            settings: resolved settings.
            memory: bytes of views that are kept, of all sets together.
        """
        assert isinstance(settings.backbone.image_size, int), "resolve the settings first"
        self.settings = settings
        self.read = image_reader(settings)
        self.folder = view_folder(settings)
        self.memory = memory
        self.kept: dict[str, NDArray[np.uint8]] = {}

    def __call__(self, dataset: SampleSet) -> ViewReader:
        """The reader of a set."""
        return _SharedReader(dataset, self)


class _SharedReader(ViewReader):
    """Looks up addresses in what all readers keep."""

    def __init__(self, dataset: SampleSet, shared: SharedViews) -> None:
        part = shared.settings.backbone
        assert isinstance(part.image_size, int)
        workers = shared.settings.data.workers
        super().__init__(
            dataset, part.image_size, part.views.tiles, workers, shared.read, shared.folder
        )
        self._cache = None  # what is kept is kept once, for all readers
        self._shared = shared

    def __call__(self, row: int) -> NDArray[np.uint8]:
        uri, kept = self.uris[row], self._shared.kept
        if uri in kept:
            return kept[uri]
        views = super().__call__(row)
        if (len(kept) + 1) * views.nbytes <= self._shared.memory:
            kept[uri] = views
        return views
