"""Fingerprints: short names for exactly these inputs, computed by exactly this code."""

from __future__ import annotations

import hashlib
from pathlib import Path

__all__ = ["code_hash", "fingerprint"]


def fingerprint(*parts: str) -> str:
    """16 hexadecimal digits that change with any part."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{len(part)}:".encode() + part.encode())
    return digest.hexdigest()[:16]


def code_hash(*packages: str) -> str:
    """SHA-256 over the source of parts of the library, such as ``"data"`` or ``"models"``.

    A name is a sub-package or a module of ``roadwork``; no name means all of it.
    """
    root = Path(__file__).parent
    files: list[Path] = []
    for package in packages or ("",):
        path = root / package
        files += path.rglob("*.py") if path.is_dir() else [path.with_suffix(".py")]
    digest = hashlib.sha256()
    for file in sorted(set(files)):
        digest.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
