"""How commands print: tables for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from roadwork.promotion import Verdict

__all__ = ["print_json", "print_table", "print_verdict"]


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> None:
    """A table that folds long cells; None is shown as a dash."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, title=title or None, title_justify="left", box=box.SIMPLE_HEAD)
    for column in table.columns:
        column.overflow = "fold"
    for row in rows:
        # Text objects, because file names may hold what rich takes for markup.
        table.add_row(*(Text("–" if cell is None else str(cell)) for cell in row))
    Console(soft_wrap=False).print(table)


def print_json(tree: Any) -> None:
    """Indented JSON on standard output."""
    typer.echo(json.dumps(tree, indent=2, ensure_ascii=False, default=str))


def print_verdict(verdict: Verdict) -> None:
    """Every check of the gate with its number, then the notes."""
    for check in verdict.checks:
        mark, colour = ("pass", "green") if check.passed else ("FAIL", "red")
        typer.secho(f"{mark}  ", fg=colour, bold=True, nl=False)
        typer.echo(f"{check.name}: {check.detail}")
    for note in verdict.notes:
        typer.echo(f"note  {note}")
