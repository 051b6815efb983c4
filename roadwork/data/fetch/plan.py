"""Fetch: a plan of what a data set's publisher offers, and its execution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from roadwork.data.fetch.archives import is_split, unpack
from roadwork.data.fetch.download import download, remaining, require_space
from roadwork.data.fetch.http import Client
from roadwork.data.fetch.remote import RemoteFile
from roadwork.data.fetch.sources import Part, published
from roadwork.environment import Environment
from roadwork.errors import ConfigError, DataError
from roadwork.progress import progress

__all__ = ["FetchPlan", "Fetched", "fetch", "plan_fetch", "require_online"]

_MEGABYTE = 10**6


@dataclass(frozen=True)
class FetchPlan:
    """The files that one call would bring.

    Attributes:
        kind: kind of source.
        parts: names of the parts asked for.
        files: the files, sorted by name.
    """

    kind: str
    parts: tuple[str, ...]
    files: tuple[RemoteFile, ...]

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True)
class Fetched:
    """What came.

    Attributes:
        files: downloaded files, checked.
        unpacked: number of files written from each archive, by its name.
        to_join: pieces of archives that the user must join.
    """

    files: tuple[Path, ...]
    unpacked: dict[str, int]
    to_join: tuple[Path, ...]


def require_online(online: bool) -> None:
    """Refuse where the network is not wished for.

    Fetching is asked for by name, and still ``ROADWORK_OFFLINE`` (true by default) is obeyed: on a
    machine that must not talk to anybody, a slip of the finger changes nothing. ``online`` lifts it
    for this one call.

    Raises:
        ConfigError: offline.
    """
    if not online and Environment().offline:
        raise ConfigError(
            "ROADWORK_OFFLINE is true (the default), so nothing was asked of the network: give "
            "--online for this one command, or set ROADWORK_OFFLINE=false. Without a network here, "
            "run the command on a machine that has one and copy the folder"
        )


def plan_fetch(
    kind: str,
    parts: Sequence[str] = (),
    *,
    base_url: str | None = None,
    client: Client | None = None,
) -> FetchPlan:
    """Ask the publisher for the files of some parts; nothing is downloaded.

    Args:
        kind: kind of source.
        parts: names of parts; none: those that training needs.
        base_url: address of the publisher's interface; None: the official one.
        client: how servers are asked; None: with the place's token, if there is one.

    Raises:
        ConfigError: nothing of that kind can be downloaded, or there is no such part.
        DataError: the publisher refuses, cannot be reached, or lists no file of a part.
    """
    offered = published(kind)
    unknown = sorted(set(parts) - set(offered.parts))
    if unknown:
        raise ConfigError(
            f"{kind} has no part {unknown[0]!r}; its parts: {', '.join(offered.parts)}"
        )
    wanted = tuple(
        name for name, part in offered.parts.items() if (name in parts if parts else part.default)
    )
    client = client or Client(token=offered.token())
    listed = offered.list_files(client, base_url or offered.base_url)
    for name in wanted:
        if not any(offered.parts[name].holds(file.name) for file in listed):
            names = ", ".join(file.name for file in listed[:8]) or "nothing"
            raise DataError(
                f"{offered.place} lists no file of the part {name!r} "
                f"({', '.join(offered.parts[name].patterns)}); it lists: {names}"
            )
    notes = Part("", offered.always)
    chosen = (*(offered.parts[name] for name in wanted), notes)
    files = tuple(file for file in listed if any(part.holds(file.name) for part in chosen))
    return FetchPlan(kind, wanted, files)


def fetch(plan: FetchPlan, to: Path, *, client: Client | None = None) -> Fetched:
    """Download what is planned, check it, and unpack archives where the source looks for them.

    A second call goes on where a first one stopped; files that are there whole are not asked for.

    Raises:
        DataError: see :func:`~roadwork.data.fetch.download.download` and
            :func:`~roadwork.data.fetch.archives.unpack`; the disk has too little room.
    """
    offered = published(plan.kind)
    client = client or Client(token=offered.token())
    require_space(to, remaining(plan.files, to))
    paths: list[Path] = []
    for number, file in enumerate(plan.files, start=1):
        title = f"Fetching {file.name} ({number} of {len(plan.files)}; MB)"
        with progress(title) as update:
            paths.append(
                download(
                    file,
                    to,
                    client,
                    lambda done, size, update=update: update(
                        done // _MEGABYTE, max(1, size // _MEGABYTE)
                    ),
                )
            )
    pieces = [path for path in paths if is_split(path.name)]
    whole = {path.with_suffix(".zip") for path in pieces}
    unpacked: dict[str, int] = {}
    for file, path in zip(plan.files, paths, strict=True):
        target = next(
            (part.unpack_to for part in offered.parts.values() if part.holds(file.name)), None
        )
        if target is not None and path.suffix == ".zip" and path not in whole:
            with progress(f"Unpacking {file.name}") as update:
                unpacked[file.name] = unpack(path, to / target, update)
    joined = sorted({*pieces, *(path for path in paths if path in whole)})
    return Fetched(tuple(paths), unpacked, tuple(joined))
