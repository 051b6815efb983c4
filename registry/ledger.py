"""The promotions log: one JSON line per decision, each holding the hash of the line before.

Lines are only ever appended, under a lock, and flushed to the disk. An edited, removed or inserted
line breaks the chain; a log that was cut at its end lacks the line whose hash MLflow keeps as a
tag of the registered model. This shows tampering to whoever looks; it does not prevent it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from registry.connection import Registry, registry_errors
from registry.tags import LEDGER_HEAD
from roadwork.errors import RegistryError
from roadwork.promotion import Verdict

__all__ = ["GENESIS", "LedgerEntry", "append", "check_ledger", "read_ledger"]

GENESIS = "0" * 64
"""What the first line holds in place of the hash of a line before it."""

Action = Literal["promote", "refuse", "rollback", "fail"]


class LedgerEntry(BaseModel):
    """One decision.

    ``action``: ``promote`` and ``rollback`` name the version that becomes champion, ``refuse`` a
    candidate that the gate did not pass, ``fail`` a decision of the line before that MLflow did
    not carry out. ``replaced`` is the champion until then.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    schema_version: Literal[1] = 1
    time: str
    action: Action
    model: str
    version: str
    bundle_hash: str
    replaced: str | None
    actor: str
    reason: str
    verdict: Verdict | None
    line_before: str


def append(
    path: Path,
    action: Action,
    *,
    model: str,
    version: str,
    bundle_hash: str,
    replaced: str | None,
    actor: str,
    reason: str,
    verdict: Verdict | None = None,
) -> str:
    """Append one decision and flush it to the disk; gives the hash of the new line.

    Raises:
        RegistryError: the log was changed by other hands, or cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            _, chain = _parse(path, file.read())
            entry = LedgerEntry(
                time=datetime.now(UTC).isoformat(timespec="seconds"),
                action=action,
                model=model,
                version=version,
                bundle_hash=bundle_hash,
                replaced=replaced,
                actor=actor,
                reason=reason,
                verdict=verdict,
                line_before=chain[-1],
            )
            line = json.dumps(entry.model_dump(mode="json"), sort_keys=True).encode()
            file.write(line + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise RegistryError(
            f"cannot write the promotions log {path} ({error.strerror}): nothing was promoted"
        ) from None
    return hashlib.sha256(line).hexdigest()


def read_ledger(path: Path) -> tuple[LedgerEntry, ...]:
    """Every decision, oldest first; none when there is no log.

    Raises:
        RegistryError: the chain is broken; the message names the first line that does not fit.
    """
    return _parse(path, path.read_bytes() if path.exists() else b"")[0]


def check_ledger(registry: Registry) -> tuple[LedgerEntry, ...]:
    """Read the log, and see that it holds the line that MLflow remembers as the last one.

    This is compared for a local store only: one on a server may have been promoted by others,
    whose logs lie elsewhere.

    Raises:
        RegistryError: the chain is broken, or lines are missing at the end.
    """
    data = registry.ledger.read_bytes() if registry.ledger.exists() else b""
    entries, chain = _parse(registry.ledger, data)
    if registry.is_local and Path(registry.uri.removeprefix("sqlite:///")).exists():
        with registry_errors("cannot read the tags of the registered model"):
            found = registry.client.search_registered_models(f"name='{registry.model_name}'")
        remembered = found[0].tags.get(LEDGER_HEAD, GENESIS) if found else GENESIS
        # A line after the remembered one is no fault: the process may have died in between.
        if remembered not in chain:
            raise RegistryError(
                f"the promotions log {registry.ledger} lacks the line that MLflow remembers as its "
                "last: lines were removed; restore the file from a backup, and see who wrote to it"
            )
    return entries


def _parse(path: Path, data: bytes) -> tuple[tuple[LedgerEntry, ...], list[str]]:
    """Entries, and the hash of every line, oldest first, after :data:`GENESIS`."""
    entries: list[LedgerEntry] = []
    chain = [GENESIS]
    if data and not data.endswith(b"\n"):
        raise RegistryError(f"the last line of the promotions log {path} is cut off: restore it")
    for number, line in enumerate(data.splitlines(), start=1):
        try:
            entry = LedgerEntry.model_validate_json(line)
        except ValidationError:
            entry = None
        if entry is None or entry.line_before != chain[-1]:
            at = number if entry is None else max(1, number - 1)
            raise RegistryError(
                f"the promotions log {path} was changed at or before line {number} (line {at} is "
                "not what the chain of hashes expects): restore the file from a backup"
            )
        entries.append(entry)
        chain.append(hashlib.sha256(line).hexdigest())
    return tuple(entries), chain
