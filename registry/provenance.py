"""Where the code came from: commit, uncommitted changes, and the locked packages."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

from registry.tags import GIT_COMMIT, GIT_DIRTY, LOCK_HASH

__all__ = ["code_tags"]

_ROOT = Path(__file__).resolve().parents[1]


def code_tags(root: Path = _ROOT) -> dict[str, str]:
    """Tags of the checkout that this code lies in; ``unknown`` where there is none.

    ``roadwork.git_dirty`` is ``true`` when tracked files differ from the commit or untracked ones
    are not ignored; ``roadwork.lock_hash`` is the SHA-256 of the lock files one after the other.
    """
    commit, changes = _git(root, "rev-parse", "HEAD"), _git(root, "status", "--porcelain")
    locks = sorted((root / "requirements").glob("*.txt"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in locks)).hexdigest()
    return {
        GIT_COMMIT: commit or "unknown",
        GIT_DIRTY: "unknown" if changes is None else "true" if changes else "false",
        LOCK_HASH: digest if locks else "unknown",
    }


def _git(root: Path, *words: str) -> str | None:
    # Optional locks would make a concurrent git command of the user fail.
    command = ["git", "--no-optional-locks", "-C", str(root), *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
