"""View cache: decoded views of a set on the local disk, for sets that memory cannot hold.

Training sees every photograph many times. Decoding one and resizing its views costs tens of
milliseconds; reading the views back costs about one. Where all of them do not fit into memory,
every pass after the first is so spared the decoding.

One file holds one set: a record for each row, of eight bytes of checksum and the views. It is
sparse at first and filled in the order in which rows are asked for. A record counts when its
checksum is right, and otherwise it is as if it had never been written. So no record needs a lock:
several processes may fill and read the same file, since whoever decodes a row writes the same
bytes, and a process that is killed, or a machine that loses power, leaves at worst a record that
is decoded again. Whoever has a file open holds a shared lock on it, whose only meaning is that the
file is in use and is not deleted to make room; the system takes it back when its process ends. The
file is read and written with system calls, not mapped into memory, where a full disk or a truncated
file would end the process with a signal instead of an error.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import math
import os
import weakref
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL
from numpy.typing import NDArray

from roadwork.data.manifest import SampleSet
from roadwork.data.views import Tiles, view_count
from roadwork.fingerprint import code_hash, fingerprint

__all__ = ["ViewCache", "ViewFolder"]

logger = logging.getLogger(__name__)
_MAGIC = b"view"
_HEADER = 8
_SUFFIX = ".views"


class ViewCache:
    """Views of the rows of one set."""

    def __init__(self, path: Path, rows: int, shape: tuple[int, ...]) -> None:
        """Open the file, or make a sparse one.

        Args:
            path: its folder exists.
            rows: of the set.
            shape: of one row's views, (V, S, S, 3).

        Raises:
            OSError: it cannot be opened for writing.
        """
        self.path = path
        self.shape = shape
        self._record = _HEADER + math.prod(shape)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        weakref.finalize(self, os.close, self._file)
        fcntl.flock(self._file, fcntl.LOCK_SH)
        if os.fstat(self._file).st_size < rows * self._record:
            os.ftruncate(self._file, rows * self._record)
        self._writes = True

    def get(self, row: int) -> NDArray[np.uint8] | None:
        """uint8 views (V, S, S, 3) of a row; None if they are not there, or not whole."""
        place = row * self._record
        try:
            header = os.pread(self._file, _HEADER, place)
            if header[:4] != _MAGIC:
                return None
            views = np.empty(self.shape, dtype=np.uint8)
            read = os.preadv(self._file, [views.data], place + _HEADER)
        except OSError as error:
            logger.debug("row %d of %s cannot be read: %s", row, self.path, error)
            return None
        whole = read == views.nbytes and header == _checksum(views)
        return views if whole else None

    def put(self, row: int, views: NDArray[np.uint8]) -> None:
        """Keep the views of a row; on a full disk nothing more is kept, and that is said once."""
        if not self._writes:
            return
        views = np.ascontiguousarray(views)
        try:
            written = os.pwritev(self._file, [_checksum(views), views.data], row * self._record)
            reason = None if written == self._record else "the disk is full"
        except OSError as error:
            reason = error.strerror or str(error)
        if reason is not None and self._writes:
            self._writes = False
            logger.warning(
                "%s takes no more views (%s): the rest is decoded in every pass. Free disk space, "
                "or lower compute.view_cache_gigabytes.",
                self.path,
                reason,
            )


def _checksum(views: NDArray[np.uint8]) -> bytes:
    return _MAGIC + zlib.crc32(views.data).to_bytes(4, "little")


@dataclass(frozen=True)
class ViewFolder:
    """Where caches lie, and how large they may be together.

    A cache is named after the contents of its photographs, the form of the views, and the code and
    the version of Pillow that made them: whatever would change a byte gives another file.
    """

    path: Path
    max_bytes: int

    def open(self, dataset: SampleSet, size: int, tiles: Tiles) -> ViewCache | None:
        """The cache of a set; others make room for it, the least recently opened first.

        Those that are open, here or in another process, stay.

        Returns:
            None where there is no room for the set's views, or the folder cannot be written; the
            log says which.
        """
        shape = (view_count(tiles), size, size, 3)
        needed = len(dataset) * (_HEADER + math.prod(shape))
        if needed > self.max_bytes:
            return _no_room(dataset, needed)
        name = fingerprint(
            *(str(sha256) for sha256 in dataset.column("sha256")),
            repr(shape),
            repr(tiles),
            PIL.__version__,
            code_hash(["roadwork.data.decode", "roadwork.data.views"]),
        )
        file = self.path / f"{name}{_SUFFIX}"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with (self.path / "evict.lock").open("wb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not self._make_room(needed, file):
                    return _no_room(dataset, needed)
                cache = ViewCache(file, len(dataset), shape)
            os.utime(file)
        except OSError as error:
            logger.warning("no views are kept in %s: %s", self.path, error.strerror or error)
            return None
        return cache

    def _make_room(self, needed: int, own: Path) -> bool:
        """Delete caches until one of ``needed`` bytes fits beside the others, as if all were full.

        False, with nothing deleted, where too many are in use.
        """
        others = []
        for path in self.path.glob(f"*{_SUFFIX}"):
            if path != own:
                with contextlib.suppress(FileNotFoundError):
                    stat = path.stat()
                    others.append((stat.st_mtime_ns, stat.st_size, path))
        total = needed + sum(size for _, size, _ in others)
        idle = []
        for _, size, path in sorted(others):
            if total > self.max_bytes and not _in_use(path):
                idle.append(path)
                total -= size
        if total > self.max_bytes:
            return False
        for path in idle:
            path.unlink(missing_ok=True)
        return True


def _in_use(path: Path) -> bool:
    """Whether anybody has a cache open; none can be opened meanwhile, ``evict.lock`` is held."""
    try:
        with path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:  # deleted by hand
        return False
    return False


def _no_room(dataset: SampleSet, needed: int) -> None:
    logger.info(
        "views of the %s set take %.1f GB and are decoded in every pass: more than "
        "compute.view_cache_gigabytes leaves room for",
        dataset.role,
        needed / 1e9,
    )
