"""Unpacking of downloaded ZIP archives, which never write outside of the folder meant for them."""

from __future__ import annotations

import os
import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from roadwork.data.fetch.download import require_space
from roadwork.errors import DataError

__all__ = ["is_split", "unpack"]

_SPLIT = re.compile(r"\.z\d\d$")


def is_split(name: str) -> bool:
    """Whether a file is a piece of a ZIP archive in several files (``.z00``, ``.z01`` …)."""
    return bool(_SPLIT.search(name))


def unpack(archive: Path, target: Path, update: Callable[[int, int], None]) -> int:
    """Write the files of an archive into a folder; files that are there whole are left alone.

    Folders that hold everything in the archive and only repeat the target's name or the archive's
    (``images/…`` for the target ``scene/images``) are taken off, so that the layout does not
    depend on how the publisher zipped. What macOS adds (``__MACOSX``, ``.DS_Store``) is left out.

    Args:
        archive: the ZIP file.
        target: folder for its files; made when absent.
        update: called as ``update(files_done, files)``.

    Returns:
        How many files the archive holds.

    Raises:
        DataError: the archive is damaged, lacks its other pieces, is encrypted, or names files
            outside of the folder, or links: then nothing is written.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [info for info in opened.infolist() if not info.is_dir() and _is_data(info)]
            skip = len(_wrapping(members, target, archive))
            places = [_place(info, skip, target, archive) for info in members]
            todo = [not _is_there(info, place) for info, place in zip(members, places, strict=True)]
            needed = sum(
                info.file_size for info, needed in zip(members, todo, strict=True) if needed
            )
            require_space(target, needed)
            for number, (info, place) in enumerate(zip(members, places, strict=True), start=1):
                if todo[number - 1]:
                    _write(opened, info, place)
                update(number, len(members))
            return len(members)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DataError(
            f"{archive} cannot be unpacked: {error}. Delete it and fetch it again; if it is the "
            "last piece of a split archive (.z00, .z01 … beside it), join the pieces first: "
            f"zip -s 0 {archive.name} --out whole.zip"
        ) from None


def _is_data(info: zipfile.ZipInfo) -> bool:
    path = PurePosixPath(info.filename)
    return "__MACOSX" not in path.parts and path.name != ".DS_Store"


def _wrapping(members: list[zipfile.ZipInfo], target: Path, archive: Path) -> tuple[str, ...]:
    """Leading folders that all files share and that only repeat a name."""
    known = {*target.parts[-2:], archive.stem}
    taken: list[str] = []
    # Level by level: zip(*…) ends with the shallowest file.
    for level in zip(*(PurePosixPath(info.filename).parts[:-1] for info in members), strict=False):
        if len(set(level)) > 1 or level[0] not in known:
            break
        taken.append(level[0])
    return tuple(taken)


def _place(info: zipfile.ZipInfo, skip: int, target: Path, archive: Path) -> Path:
    path = PurePosixPath(info.filename)
    is_link = stat.S_ISLNK(info.external_attr >> 16)
    if path.is_absolute() or ".." in path.parts or "\\" in info.filename or is_link:
        raise DataError(
            f"{archive} holds {info.filename!r}, which would be written outside of {target}, or is "
            "a link: nothing was unpacked; such an archive is not to be trusted"
        )
    return target.joinpath(*path.parts[skip:])


def _is_there(info: zipfile.ZipInfo, place: Path) -> bool:
    return place.is_file() and place.stat().st_size == info.file_size


def _write(opened: zipfile.ZipFile, info: zipfile.ZipInfo, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    partial = place.with_name(place.name + ".part")
    with opened.open(info) as source, partial.open("wb") as out:
        shutil.copyfileobj(source, out, 1 << 20)
    os.replace(partial, place)
