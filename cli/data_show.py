"""``roadwork data show``: what a manifest, or the sets cut from it, hold."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import print_json, print_table

if TYPE_CHECKING:
    from roadwork.data.census import Census

__all__ = ["print_left_out", "show"]


def show(
    folder: Annotated[Path, typer.Argument(help="Written by `roadwork data ingest` or `split`.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Count photographs by source, label, set and slice; and what was left out."""
    from roadwork.data.census import census_of_folder

    census = census_of_folder(folder)
    if as_json:
        print_json(asdict(census))
        return
    print_table(
        ("source", "label", "set", "images", "groups"),
        [
            (row.source, row.label, row.role or None, row.images, row.groups)
            for row in census.strata
        ],
        f"{census.images} photographs",
    )
    print_table(
        ("slice", "photographs by value"),
        [
            (name, ", ".join(f"{value} {count}" for value, count in values.items()))
            for name, values in census.slices.items()
        ],
    )
    if census.duplicates:
        print_table(("copies left out", "rows"), census.duplicates.items())
    print_left_out(census)


def print_left_out(census: Census) -> None:
    """A table of the rows that are not used, if there are any."""
    if census.left_out:
        print_table(
            ("source", "not used because", "kind", "rows"),
            [
                (source, reason, "damage" if fault else "on purpose", count)
                for source, reason, fault, count in census.left_out
            ],
        )
