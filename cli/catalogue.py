"""``roadwork list``: what there is to choose from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Annotated

import typer

from cli.output import print_json, print_table

__all__ = ["Kind", "entries", "list_entries"]

Rows = list[dict[str, str]]


class Kind(StrEnum):
    """The registries of the library."""

    SOURCES = "sources"
    BACKBONES = "backbones"
    CALIBRATORS = "calibrators"
    CONFORMAL = "conformal"
    ENGINES = "engines"
    METRICS = "metrics"


def list_entries(
    kind: Annotated[Kind, typer.Argument(help="Which registry.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List sources, backbones, calibrators, conformal methods, engines or metrics."""
    rows = entries(kind)
    if as_json:
        print_json(rows)
        return
    columns = list(rows[0])
    print_table(columns, [[row[column] for column in columns] for row in rows])


def entries(kind: Kind) -> Rows:
    """One row per entry; the first column is the name that settings use."""
    return _READERS[kind]()


def _sources() -> Rows:
    from roadwork.data.sources.base import SOURCES

    return [{"name": name, "title": info.title} for name, info in SOURCES.items()]


def _backbones() -> Rows:
    from roadwork.models.backbone import BACKBONES

    return [
        {
            "name": name,
            "kind": "vision transformer" if info.transformer else "convolutional",
            "weights": info.licence,
        }
        for name, info in BACKBONES.items()
    ]


def _calibrators() -> Rows:
    from roadwork.calibration import CALIBRATORS

    return [
        {"name": info.name, "title": info.title, "reference": info.reference}
        for info in CALIBRATORS.values()
    ]


def _conformal() -> Rows:
    from roadwork.conformal import CONFORMAL

    return [
        {"name": info.name, "title": info.title, "reference": info.reference}
        for info in CONFORMAL.values()
    ]


def _engines() -> Rows:
    from roadwork.engines import ENGINES

    rows: Rows = []
    for info in ENGINES.values():
        usable, reason = info.available()
        here = "yes" if usable else "no"
        rows.append({"name": info.name, "title": info.title, "usable": here, "reason": reason})
    return rows


def _metrics() -> Rows:
    from roadwork.evaluation.metrics import METRICS

    better: Mapping[bool | None, str] = {True: "higher", False: "lower", None: "neither"}
    return [
        {
            "name": info.name,
            "title": info.title,
            "better": better[info.higher_is_better],
            "needs": ", ".join(sorted(info.needs)),
        }
        for info in METRICS.values()
    ]


_READERS: Mapping[Kind, Callable[[], Rows]] = {
    Kind.SOURCES: _sources,
    Kind.BACKBONES: _backbones,
    Kind.CALIBRATORS: _calibrators,
    Kind.CONFORMAL: _conformal,
    Kind.ENGINES: _engines,
    Kind.METRICS: _metrics,
}
