"""Storage: addresses of images and tables, on disk or in an object store, through fsspec.

An address is a path or a URL (``s3://``, ``gs://``, ``hf://`` …). An image inside a container has
its place behind a ``#``: ``shard.parquet#row=12`` (also ``.arrow``), ``shard.tar#bytes=1536+20480``
(offset and length). Credentials and endpoints are the environment's, as each store documents them
(``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT_URL``, ``HF_TOKEN`` …); none is ever stored.

Transient failures are tried again, with growing pauses, by the stores' own clients. All functions
may be called from several threads at once, and after a fork: the clients of s3 and gs do their
input and output in one thread of their own, and start anew in a child process.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roadwork.data.stores import explained, store_of

__all__ = [
    "StoredFile",
    "container_of",
    "exists",
    "is_folder",
    "is_remote",
    "join",
    "list_files",
    "list_folders",
    "local_path",
    "open_stored",
    "read_bytes",
    "read_range",
    "relative_to",
    "stat_of",
    "write_bytes",
    "write_file",
]

_PLACE = re.compile(r"^(?P<file>.+\.(?:parquet|arrow|tar))#(?P<kind>row|bytes)=(?P<place>[\d+]+)$")
_STAMPS = ("ETag", "etag", "blob_id", "md5Hash", "LastModified", "created")


@dataclass(frozen=True)
class StoredFile:
    """One file of a listing: its address, its size in bytes, and what changes when it changes."""

    uri: str
    size: int
    stamp: str


def is_remote(uri: str) -> bool:
    """Whether an address names another store than the local disk."""
    return "://" in uri and not uri.startswith("file://")


def local_path(uri: str) -> Path:
    """The path of an address on the local disk, ``file://`` taken off."""
    return Path(uri.removeprefix("file://"))


def join(root: str, *parts: str) -> str:
    """An address below another."""
    return "/".join([root.rstrip("/"), *parts])


def relative_to(uri: str, root: str) -> str:
    """The part of an address below a root.

    Raises:
        ValueError: it does not lie there.
    """
    below = uri.removeprefix(root.rstrip("/") + "/")
    if below == uri:
        raise ValueError(f"{uri} does not lie below {root}")
    return below


def container_of(uri: str) -> str | None:
    """The file that an image's address points into; None if the image is a file of its own."""
    place = _PLACE.match(uri)
    return place["file"] if place else None


def filesystem(uri: str) -> tuple[Any, str]:
    """fsspec's file system of an address, and the path in it.

    Raises:
        ConfigError: there is no such kind of store, or its package is not installed.
    """
    import fsspec

    return fsspec.core.url_to_fs(uri, **store_of(uri).options)


def open_stored(uri: str) -> Any:
    """Open a file for reading bytes, at random places too.

    Raises:
        FileNotFoundError: there is none.
        ConfigError: the store refuses.
        DataError: the store does not answer.
    """
    if not is_remote(uri):
        return local_path(uri).open("rb")
    with explained(uri):
        store, path = filesystem(uri)
        return store.open(path, "rb")


def exists(uri: str) -> bool:
    """Whether a file or folder is there."""
    if not is_remote(uri):
        return local_path(uri).exists()
    with explained(uri):
        store, path = filesystem(uri)
        return bool(store.exists(path))


def is_folder(uri: str) -> bool:
    """Whether a folder is there: in an object store, whether any address begins with it."""
    if not is_remote(uri):
        return local_path(uri).is_dir()
    with explained(uri):
        store, path = filesystem(uri)
        return bool(store.isdir(path))


def stat_of(uri: str) -> StoredFile:
    """Size and stamp of one file.

    Raises:
        FileNotFoundError: there is none.
    """
    if not is_remote(uri):
        stat = local_path(uri).stat()
        return StoredFile(uri, stat.st_size, str(stat.st_mtime_ns))
    with explained(uri):
        store, path = filesystem(uri)
        return _stored(uri, store.info(path))


def list_files(root: str, suffixes: tuple[str, ...] = ()) -> list[StoredFile]:
    """Every file below an address with one of the suffixes (in lower case), sorted by address."""
    if not is_remote(root):
        found = _walk(str(local_path(root)), suffixes)
    else:
        with explained(root):
            store, path = filesystem(root)
            found = [
                # Named as the root is: a store may know other names for the same place.
                _stored(root.rstrip("/") + name.removeprefix(path), info)
                if name.startswith(path)
                else _stored(store.unstrip_protocol(name), info)
                for name, info in store.find(path, detail=True).items()
                if not suffixes or name.lower().endswith(suffixes)
            ]
    return sorted(found, key=lambda file: file.uri)


def list_folders(root: str) -> list[str]:
    """Names of the folders directly in a folder, sorted."""
    if not is_remote(root):
        return sorted(entry.name for entry in os.scandir(local_path(root)) if entry.is_dir())
    with explained(root):
        store, path = filesystem(root)
        listed = store.ls(path, detail=True)
    return sorted(
        info["name"].rstrip("/").rpartition("/")[2]
        for info in listed
        if info["type"] == "directory"
    )


def read_bytes(uri: str) -> bytes:
    """All bytes of a file, or of one image within a container.

    Raises:
        OSError: it is not there or cannot be read (``FileNotFoundError`` if it is not there).
        ConfigError: the store refuses.
        DataError: the container is damaged or has no such place; the store does not answer.
    """
    place = _PLACE.match(uri)
    if place is not None:
        from roadwork.data.containers import read_place

        return read_place(place["file"], place["kind"], place["place"])
    if not is_remote(uri):
        return local_path(uri).read_bytes()
    with explained(uri):
        store, path = filesystem(uri)
        return store.cat_file(path, **store_of(uri).whole)


def read_range(uri: str, offset: int, length: int) -> bytes:
    """Bytes ``offset`` to ``offset + length`` of a file; fewer if it ends before.

    Raises:
        OSError: it is not there or cannot be read (``FileNotFoundError`` if it is not there).
        ConfigError: the store refuses.
        DataError: the store does not answer.
    """
    if length == 0:
        return b""
    if not is_remote(uri):
        with local_path(uri).open("rb") as file:
            file.seek(offset)
            return file.read(length)
    with explained(uri):
        store, path = filesystem(uri)
        return store.cat_file(path, start=offset, end=offset + length)


def write_bytes(uri: str, data: bytes) -> None:
    """Write a file whole or not at all, in place of an earlier one; folders are made.

    Raises:
        OSError: it cannot be written.
        ConfigError: the store refuses.
        DataError: the store does not answer.
    """
    if not is_remote(uri):
        path = local_path(uri)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            partial.write_bytes(data)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        return
    with explained(uri):
        store, path = filesystem(uri)
        store.pipe_file(path, data)


def write_file(uri: str, made: Path) -> None:
    """Move a file that was made on the local disk to an address, whole or not at all.

    Raises:
        OSError: it cannot be written; a local address must be on the same disk.
        ConfigError: the store refuses.
        DataError: the store does not answer.
    """
    if not is_remote(uri):
        made.replace(local_path(uri))
        return
    with explained(uri):
        store, path = filesystem(uri)
        store.put_file(str(made), path)
    made.unlink()


def _walk(folder: str, suffixes: tuple[str, ...]) -> list[StoredFile]:
    found = []
    for parent, _, names in os.walk(folder):
        for name in names:
            if suffixes and not name.lower().endswith(suffixes):
                continue
            path = os.path.join(parent, name)
            try:
                stat = os.stat(path)
            except FileNotFoundError:
                continue  # a link to nothing, or removed while we look
            found.append(StoredFile(path, stat.st_size, str(stat.st_mtime_ns)))
    return found


def _stored(uri: str, info: dict[str, Any]) -> StoredFile:
    stamp = next((str(info[name]) for name in _STAMPS if info.get(name)), "")
    return StoredFile(uri, int(info.get("size") or 0), stamp)
