"""Download of one file: resumed where it broke off, and kept only if its checksum is right."""

from __future__ import annotations

import fcntl
import logging
import os
import re
import shutil
import urllib.error
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from roadwork.data.fetch.http import BROKEN, Client
from roadwork.data.fetch.remote import RemoteFile
from roadwork.errors import DataError

__all__ = ["download", "require_space"]

logger = logging.getLogger(__name__)

_BLOCK = 1 << 20
_RESERVE = 1 << 28  # bytes that stay free: a full disk breaks more than a download


def require_space(folder: Path, needed: int) -> None:
    """Refuse to begin what would fill the disk.

    Raises:
        DataError: the folder's disk has less free than needed, with a reserve of 256 MiB.
    """
    place = folder.resolve()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if needed and free < needed + _RESERVE:
        raise DataError(
            f"{folder} has {free / 1e9:.1f} GB free and {needed / 1e9:.1f} GB are needed (and 0.3 "
            "GB to spare): free some, choose another folder, or fetch fewer parts with --part"
        )


def remaining(files: Sequence[RemoteFile], folder: Path) -> int:
    """Bytes that are still to be downloaded."""
    total = 0
    for file in files:
        path = folder / file.name
        part = _part(path)
        if not path.exists():
            total += max(0, file.size - (part.stat().st_size if part.exists() else 0))
    return total


def download(
    file: RemoteFile, folder: Path, client: Client, update: Callable[[int, int], None]
) -> Path:
    """Bring one file into a folder.

    Bytes go to ``<name>.part`` first, so that ``<name>`` is always whole and checked. A second call
    goes on where the first one broke off, if the server still has the same version of the file
    (``If-Range``); a connection that breaks is taken up again as long as each attempt brings bytes.

    Args:
        file: what to bring.
        folder: where ``file.name`` is written; made when absent.
        client: how the server is asked.
        update: called as ``update(bytes_here, bytes_in_all)``.

    Returns:
        The path of the file.

    Raises:
        DataError: the server refuses or cannot be reached; the checksum is wrong (what came is kept
            as ``<name>.bad``); another file of that name is there; another process writes it.
    """
    path = folder / file.name
    if path.exists():
        _require_published(file, path)
        update(file.size, file.size)
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with _alone(_part(path)) as out:
        resumed = _part(path).stat().st_size > 0
        _transfer(file, path, out, client, update)
        if _digest(file, path) != file.checksum.digest and resumed:
            logger.info("%s: the beginning was of another version; starting again", file.name)
            out.truncate(0)
            _transfer(file, path, out, client, update)
        found = _digest(file, path)
    _stamp(path).unlink(missing_ok=True)
    if found != file.checksum.digest:
        bad = path.with_name(path.name + ".bad")
        os.replace(_part(path), bad)
        raise DataError(
            f"{file.name}: the {file.checksum.algorithm} of what was downloaded is {found}, and "
            f"the publisher's is {file.checksum.digest}. It was damaged on the way, or the "
            f"publisher changed it; what came is kept as {bad}. Run the same command again"
        )
    os.replace(_part(path), path)
    return path


def _transfer(
    file: RemoteFile, path: Path, out: IO[bytes], client: Client, update: Callable[[int, int], None]
) -> None:
    """Append to the partial file until it has the listed size."""
    stalled = 0
    while (before := _length(out)) < file.size:
        reason = "the connection ended early"
        try:
            with _ask(file, path, before, client) as answer:
                out.truncate(_place_of(answer, before))
                _remember(path, answer)
                have = _length(out)
                while have <= file.size and (block := answer.read(_BLOCK)):
                    out.write(block)
                    have += len(block)
                    update(min(have, file.size), file.size)
        except BROKEN as error:
            reason = f"the connection broke ({error or type(error).__name__})"
        have = _length(out)
        if have > file.size:
            out.truncate(0)
            raise DataError(
                f"{file.name}: the server sends more than the {file.size} bytes that it lists; "
                "run the same command again, and if it stays so, tell the publisher"
            )
        stalled = 0 if have > before else stalled + 1
        if stalled >= client.attempts:
            raise DataError(
                f"{file.name}: {reason} {stalled} times without another byte; "
                f"{have} of {file.size} bytes are here. Run the same command again: it goes on"
            )
        if have < file.size:
            client.wait(stalled + 1, f"{file.name}: {reason}")


def _length(out: IO[bytes]) -> int:
    out.flush()
    return out.seek(0, os.SEEK_END)


def _ask(file: RemoteFile, path: Path, have: int, client: Client) -> Any:
    """Open the file behind the bytes that are here; the whole of it where that cannot be."""
    if not have:
        return client.open(file.url)
    headers = {"Range": f"bytes={have}-"}
    stamp = _stamp(path)
    if stamp.exists():
        headers["If-Range"] = stamp.read_text(encoding="ascii")
    try:
        return client.open(file.url, headers)
    except urllib.error.HTTPError:  # 416: the file ends before; the checksum finds out
        return client.open(file.url)


def _place_of(answer: Any, have: int) -> int:
    """Where the bytes of an answer belong: behind those that are here, or at the start."""
    if answer.status != 206:
        return 0
    found = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range") or "")
    if found is None or int(found[1]) != have:
        raise DataError(
            f"{answer.url} was asked for bytes from {have} on and sends others "
            f"({answer.headers.get('Content-Range')}): delete the .part file and run it again"
        )
    return have


def _remember(path: Path, answer: Any) -> None:
    """Keep the version's name for If-Range: a strong validator alone will do (RFC 9110, 13.1.5)."""
    tag = answer.headers.get("ETag") or ""
    if tag.startswith('"') and tag.isascii():
        _stamp(path).write_text(tag, encoding="ascii")
    else:
        _stamp(path).unlink(missing_ok=True)


def _require_published(file: RemoteFile, path: Path) -> None:
    if path.stat().st_size != file.size or file.checksum.of(path) != file.checksum.digest:
        raise DataError(
            f"{path} is there and is not the published file ({file.size} bytes, "
            f"{file.checksum.algorithm} {file.checksum.digest}): move it away and run this again"
        )


def _digest(file: RemoteFile, path: Path) -> str:
    return file.checksum.of(_part(path))


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def _stamp(path: Path) -> Path:
    return path.with_name(path.name + ".part.etag")


@contextmanager
def _alone(part: Path) -> Iterator[IO[bytes]]:
    """The partial file, open for appending by this process alone."""
    with part.open("ab") as out:
        try:
            fcntl.flock(out, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DataError(f"another process is writing {part}: wait for it, or end it") from None
        yield out
