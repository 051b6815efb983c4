"""Roots: where a source's files lie, on disk or in an object store."""

from __future__ import annotations

import hashlib
from pathlib import Path

from roadwork.data.storage import StoredFile, exists, is_remote, list_files
from roadwork.errors import ConfigError

__all__ = ["IMAGE_SUFFIXES", "digest_of_files", "files_by_name", "resolve_root"]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


def resolve_root(root: str | None) -> str:
    """The root as an absolute path or an address.

    Raises:
        ConfigError: it is not set, or nothing is there.
    """
    if root is None:
        raise ConfigError("data.sources.root is not set: resolve the settings first")
    where = root.rstrip("/") if is_remote(root) else str(Path(root).expanduser().resolve())
    if not exists(where):
        raise ConfigError(f"data.sources.root: there is no folder {where}")
    return where


def files_by_name(folder: str, suffixes: tuple[str, ...]) -> dict[str, StoredFile]:
    """Every file below a folder, by its path relative to the folder, in sorted order."""
    mark = "/" + folder.rstrip("/").split("://")[-1].strip("/") + "/"
    listed = {file.uri.split(mark, 1)[-1]: file for file in list_files(folder, suffixes)}
    return dict(sorted(listed.items()))


def digest_of_files(settings: str, *listings: dict[str, StoredFile]) -> str:
    """Hash of settings and of every file's name, size and stamp; no file is opened."""
    digest = hashlib.sha256(settings.encode())
    for listing in listings:
        digest.update(b"\0\0")
        for name, file in listing.items():
            digest.update(f"{name}\0{file.size}\0{file.stamp}\0".encode())
    return digest.hexdigest()
