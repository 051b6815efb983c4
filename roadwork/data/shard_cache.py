"""Shard cache: whole containers of an object store on the local disk, the latest used ones.

Training that draws images in the order of :class:`~roadwork.data.order.ShardOrder` asks for every
image of a few shards before it goes on to the next; one transfer a shard replaces one request an
image. Several processes, of one run or of several, may share a folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from roadwork.data.storage import container_of, is_remote, open_stored, read_bytes, stat_of
from roadwork.data.stores import explained
from roadwork.errors import DataError

__all__ = ["ShardCache"]

logger = logging.getLogger(__name__)
_CHUNK = 8 << 20
_TRIES = 5


class ShardCache:
    """Reads images as :func:`roadwork.data.storage.read_bytes` does, shards from the local disk.

    A shard is kept under a name made of its address, size and stamp, so that one that was written
    anew is fetched anew. It appears there only when it is whole.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        """Nothing is fetched yet.

        Args:
            folder: on the local disk; made if it is not there.
            max_bytes: shards above this sum are deleted, the least recently used first. A shard
                larger than this is never kept; its images are read one by one.
        """
        self.folder = folder
        self.max_bytes = max_bytes
        self._names: dict[str, tuple[str, int]] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def read_bytes(self, uri: str) -> bytes:
        """Bytes of an address.

        Raises:
            OSError: it is not there or cannot be read.
            DataError: the shard is damaged, or the store does not answer.
        """
        file = container_of(uri)
        if file is None or not is_remote(file):
            return read_bytes(uri)
        for _ in range(_TRIES):
            kept = self._kept(file)
            if kept is None:
                return read_bytes(uri)
            # Between these two lines another process may delete it to make room.
            with contextlib.suppress(FileNotFoundError):
                return read_bytes(f"{kept}{uri.removeprefix(file)}")
        raise DataError(
            f"{file} was deleted from {self.folder} {_TRIES} times before it could be read: the "
            f"cache of {self.max_bytes} bytes is too small for the processes that share it"
        )

    def _kept(self, file: str) -> Path | None:
        """Where a shard lies, fetched if need be; None if it is larger than the cache."""
        if file not in self._names:
            found = stat_of(file)
            key = hashlib.sha256(f"{file}\0{found.size}\0{found.stamp}".encode()).hexdigest()
            # The suffix says how the container is read.
            self._names[file] = (f"{key[:32]}.{file.rpartition('.')[2]}", found.size)
            if found.size > self.max_bytes:
                logger.warning(
                    "%s has %d bytes, more than the cache's %d: its images are read one by one",
                    file,
                    found.size,
                    self.max_bytes,
                )
        name, size = self._names[file]
        if size > self.max_bytes:
            return None
        path = self.folder / name
        try:
            os.utime(path)
        except FileNotFoundError:
            with self._locked(f"{name}.lock"):
                if not path.exists():
                    self._fetch(file, path, size)
        return path

    def _fetch(self, file: str, path: Path, size: int) -> None:
        descriptor, partial = tempfile.mkstemp(".partial", f"{path.name}.", self.folder)
        try:
            with os.fdopen(descriptor, "wb") as made, open_stored(file) as opened, explained(file):
                while data := opened.read(_CHUNK):
                    made.write(data)
            found = Path(partial).stat().st_size
            if found != size:
                raise DataError(
                    f"{file} came as {found} bytes instead of {size}: it is being replaced, or the "
                    "transfer was cut off; try again"
                )
            with self._locked("evict.lock"):
                self._make_room(size)
                os.replace(partial, path)
        finally:
            Path(partial).unlink(missing_ok=True)

    def _make_room(self, size: int) -> None:
        """Delete the least recently used shards until one of ``size`` bytes fits."""
        kept = []
        for path in self.folder.iterdir():
            if path.suffix in {".partial", ".lock"}:
                continue
            stat = path.stat()
            kept.append((stat.st_mtime_ns, stat.st_size, path))
        total = sum(entry[1] for entry in kept) + size
        for _, freed, path in sorted(kept):
            if total <= self.max_bytes:
                return
            path.unlink(missing_ok=True)
            total -= freed

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        """Hold a lock among all threads and processes; it ends with the process that holds it."""
        with (self.folder / name).open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
