"""A sealed folder: one whose files are listed with their SHA-256, and refused if a byte differs.

``manifest.sha256`` lists every other file, sorted, in the form that ``sha256sum -c`` reads. The
SHA-256 of the manifest names the content of the whole folder.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from roadwork.errors import BundleError

__all__ = ["MANIFEST", "Seal", "read_sealed", "verify_folder", "write_files", "write_manifest"]

MANIFEST = "manifest.sha256"

# Names that mean the same on every system and need no escaping in the manifest.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*(/[A-Za-z0-9_][A-Za-z0-9._+-]*)*")
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")
_AGAIN = "fetch the bundle again"


@dataclass(frozen=True)
class Seal:
    """SHA-256 of the manifest, and of every file by its path inside the folder."""

    hash: str
    digests: Mapping[str, str]


def verify_folder(folder: Path) -> Seal:
    """Compare every byte of a folder with its manifest.

    Raises:
        BundleError: the folder or a file is missing, changed, not listed, a link, or no plain
            file; the message names it.
    """
    if not folder.is_dir():
        raise BundleError(f"there is no bundle at {folder}: the folder does not exist")
    found = _list_files(folder)
    if MANIFEST not in found:
        raise BundleError(f"{folder} is no bundle: it has no {MANIFEST}")
    manifest = _read(folder, MANIFEST)
    digests = _parse_manifest(manifest, folder)
    for name in sorted(digests.keys() - found):
        raise BundleError(f"the bundle {folder} lacks {name}: {_AGAIN}")
    for name in sorted(found - digests.keys() - {MANIFEST}):
        raise BundleError(
            f"the bundle {folder} holds {name}, which its manifest does not list: remove the "
            f"file, or {_AGAIN}"
        )
    for name, digest in digests.items():
        if _hash_file(folder, name) != digest:
            raise _changed(folder, name)
    return Seal(hashlib.sha256(manifest).hexdigest(), digests)


def read_sealed(folder: Path, name: str, digest: str) -> bytes:
    """Bytes of one file, refused when their SHA-256 is not ``digest``.

    Raises:
        BundleError: the file is missing or was changed.
    """
    data = _read(folder, name)
    if hashlib.sha256(data).hexdigest() != digest:
        raise _changed(folder, name)
    return data


def write_files(folder: Path, parts: Mapping[str, bytes | Path]) -> None:
    """Write bytes, or copy files, to their paths inside a folder.

    Raises:
        BundleError: a path leaves the folder, is hidden, or has characters that are not allowed.
        OSError: the disk refuses.
    """
    for name, content in parts.items():
        _require_name(name)
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Path):
            shutil.copyfile(content, path)
        else:
            path.write_bytes(content)


def write_manifest(folder: Path) -> None:
    """List every file of a folder in its manifest; replaces one that is there.

    Raises:
        BundleError: a file is a link or has a name that is not allowed.
    """
    (folder / MANIFEST).unlink(missing_ok=True)
    names = sorted(_list_files(folder))
    for name in names:
        _require_name(name)
    lines = [f"{_hash_file(folder, name)}  {name}\n" for name in names]
    (folder / MANIFEST).write_bytes("".join(lines).encode())


def _require_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise BundleError(
            f"{name!r} cannot be a file of a bundle: use letters, digits and . _ + - only, and no "
            "leading dot"
        )


def _parse_manifest(manifest: bytes, folder: Path) -> dict[str, str]:
    digests: dict[str, str] = {}
    for number, line in enumerate(manifest.decode("utf-8", "replace").splitlines(), start=1):
        match = _LINE.fullmatch(line)
        name = match[2] if match else ""
        if match is None or not _NAME.fullmatch(name) or name == MANIFEST or name in digests:
            raise BundleError(
                f"line {number} of {folder / MANIFEST} is not allowed ({line[:80]!r}): {_AGAIN}"
            )
        digests[name] = match[1]
    return digests


def _list_files(folder: Path) -> set[str]:
    """Paths of every file; refuses links and anything that is no plain file."""
    names: set[str] = set()
    for root, directories, files in os.walk(folder):
        for entry in (*directories, *files):
            path = Path(root) / entry
            name = path.relative_to(folder).as_posix()
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                raise BundleError(f"{name} in the bundle {folder} is a link: {_AGAIN}")
            if stat.S_ISREG(mode):
                names.add(name)
            elif not stat.S_ISDIR(mode):
                raise BundleError(f"{name} in the bundle {folder} is no plain file: {_AGAIN}")
    return names


def _read(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except FileNotFoundError:
        raise BundleError(f"the bundle {folder} lacks {name}: {_AGAIN}") from None
    except OSError as error:
        raise _unreadable(folder, name, error) from None


def _hash_file(folder: Path, name: str) -> str:
    try:
        with (folder / name).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(folder, name, error) from None


def _unreadable(folder: Path, name: str, error: OSError) -> BundleError:
    return BundleError(f"{name} of the bundle {folder} cannot be read: {error.strerror}")


def _changed(folder: Path, name: str) -> BundleError:
    return BundleError(f"{name} of the bundle {folder} was changed after it was sealed: {_AGAIN}")
