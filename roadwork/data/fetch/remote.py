"""Published files: what a listing says of them, and how their bytes are checked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from roadwork.errors import DataError

__all__ = ["Checksum", "RemoteFile"]

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Checksum:
    """A digest in hexadecimal, as the publisher gives it.

    Attributes:
        algorithm: ``sha256``, ``md5``, or ``git-blob``: SHA-1 over git's header and the bytes,
            which the Hugging Face Hub gives for small files.
        digest: the digest, lower case.
    """

    algorithm: Literal["sha256", "md5", "git-blob"]
    digest: str

    def of(self, path: Path) -> str:
        """The same digest of a local file."""
        digest = _START[self.algorithm](path.stat().st_size)
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
        return digest.hexdigest()


_START: Mapping[str, Callable[[int], hashlib._Hash]] = {
    "sha256": lambda _: hashlib.sha256(),
    # MD5 guards against damage on the way, which is all that its publisher offers it for.
    "md5": lambda _: hashlib.md5(usedforsecurity=False),
    "git-blob": lambda size: hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False),
}


@dataclass(frozen=True)
class RemoteFile:
    """One published file.

    Attributes:
        name: path below the folder that receives it, with forward slashes.
        size: bytes.
        url: where it is.
        checksum: what its bytes must give.

    Raises:
        DataError: the name would leave the folder. Names come from a server: none is trusted.
    """

    name: str
    size: int
    url: str
    checksum: Checksum

    def __post_init__(self) -> None:
        path = PurePosixPath(self.name)
        if not path.parts or path.is_absolute() or ".." in path.parts or "\\" in self.name:
            raise DataError(
                f"the listing names a file {self.name!r}, which would be written outside of the "
                "folder: nothing was downloaded; ask the publisher"
            )
