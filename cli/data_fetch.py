"""``roadwork data fetch``: published data sets, from their official places."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import print_table

if TYPE_CHECKING:
    from roadwork.data.fetch import FetchPlan

__all__ = ["fetch"]

_MEGABYTE = 10**6


def fetch(
    source: Annotated[
        str, typer.Argument(help="natix, cmu_roadwork, mapillary, image_folder or synthetic.")
    ],
    to: Annotated[Path, typer.Option(help="Folder of the data set.")],
    part: Annotated[
        list[str] | None, typer.Option(help="A part of it; may be given several times.")
    ] = None,
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="You have read and accept its licence.")
    ] = False,
    online: Annotated[
        bool, typer.Option("--online", help="Use the network although ROADWORK_OFFLINE is true.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List what would be downloaded, and leave.")
    ] = False,
) -> None:
    """Download a published data set, or say what to do where a program may not.

    The licence is shown first. Downloads go on where they stopped, and are checked.
    """
    from roadwork.data.fetch import MANUAL, PUBLISHED
    from roadwork.data.licences import LICENCES
    from roadwork.errors import ConfigError

    if source not in LICENCES:
        raise ConfigError(f"there is no source {source!r}; there are: {', '.join(LICENCES)}")
    typer.echo(LICENCES[source].text())
    if source in MANUAL:
        typer.echo(f"\n{MANUAL[source]}")
    elif source == "mapillary":
        _check_vistas(to)
    else:
        offered = PUBLISHED[source]
        typer.echo(f"from      {offered.place}\nnote      {offered.note}\n")
        _download(source, to, part or [], accept_licence, online, dry_run)


def _download(
    source: str, to: Path, parts: list[str], accepted: bool, online: bool, dry_run: bool
) -> None:
    from roadwork.data.fetch import PUBLISHED, plan_fetch, require_online
    from roadwork.data.fetch import fetch as bring
    from roadwork.errors import ConfigError

    print_table(
        ("part", "holds", "by default"),
        [
            (name, part.title, "yes" if part.default else "no")
            for name, part in PUBLISHED[source].parts.items()
        ],
    )
    if not (accepted or dry_run):
        raise ConfigError(
            "nothing was downloaded: read the licence above, and give --accept-licence if you "
            "accept it (--dry-run lists the files)"
        )
    require_online(online)
    plan = plan_fetch(source, parts)
    _show(plan)
    if dry_run:
        return
    fetched = bring(plan, to)
    typer.echo(f"{len(fetched.files)} files in {to}, every checksum right")
    for name, count in fetched.unpacked.items():
        typer.echo(f"{name}: {count} files unpacked; the archive may be deleted")
    if fetched.to_join:
        names = ", ".join(path.name for path in fetched.to_join)
        last = fetched.to_join[-1].name
        typer.echo(
            f"{names} are pieces of one archive, which Python cannot join:\n"
            f"  cd {to} && zip -s 0 {last} --out whole.zip && unzip whole.zip -d videos"
        )
    typer.echo(f"data.sources: kind: {source}, root: {to}")


def _show(plan: FetchPlan) -> None:
    rows = [
        (
            file.name,
            f"{file.size / _MEGABYTE:.1f}",
            f"{file.checksum.algorithm} {file.checksum.digest}",
        )
        for file in plan.files
    ]
    print_table(("file", "MB", "checksum"), rows, f"{plan.size / _MEGABYTE:.1f} MB in all")


def _check_vistas(folder: Path) -> None:
    from roadwork.data.fetch import STEPS, check_vistas
    from roadwork.errors import DataError

    if not folder.is_dir():
        typer.echo(f"\n{STEPS}")
        return
    found = check_vistas(folder)
    for part, count in found.images.items():
        typer.echo(f"{part:<10} {count} images")
    for remark in found.remarks:
        typer.echo(f"note       {remark}")
    if found.complaints:
        typer.echo(f"\n{STEPS}")
        raise DataError(f"{folder} is no whole Mapillary Vistas: {'; '.join(found.complaints)}")
    typer.echo(f"complete   data.sources: kind: mapillary, root: {folder}")
