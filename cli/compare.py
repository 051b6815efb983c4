"""``roadwork compare``: what distinguishes runs, and which differences are more than luck."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from roadwork.evaluation.comparison import Comparison, Difference, Row
    from roadwork.evaluation.metrics import Metric

__all__ = ["compare"]


def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN RUN…",
            help="Version, alias (champion, candidate), latest, or name or identifier of a run, "
            "or the beginning of one; the others are compared with the first.",
            show_default=False,
        ),
    ],
    metric: Annotated[
        list[str] | None,
        typer.Option(help="Metric to compare; may be repeated. `roadwork list metrics` names all."),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(help="Page (.html) or picture (.svg) of learning curves and intervals."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the file of --plot if it exists.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Compare runs: settings, data, metrics with intervals, paired differences on the same images.

    The candidate and the champion, with their learning curves:
    roadwork compare champion candidate --plot comparison.html
    """
    from registry import existing_registry
    from registry.compare import read_runs
    from roadwork.errors import ConfigError
    from roadwork.evaluation.comparison import compare_runs
    from roadwork.evaluation.comparison_page import render_html, render_svg

    if plot is not None and plot.suffix not in (".html", ".svg"):
        raise ConfigError(f"--plot writes .html or .svg, not {plot.suffix or plot}")
    if plot is not None and plot.exists() and not overwrite:
        raise ConfigError(f"{plot} exists already: name another file, or give --overwrite")
    found = read_runs(existing_registry(), runs)
    comparison = compare_runs(found, metric or None)
    if as_json:
        print_json(comparison.to_json())
    else:
        _print(comparison)
    if plot is not None:
        render = render_html if plot.suffix == ".html" else render_svg
        plot.parent.mkdir(parents=True, exist_ok=True)
        plot.write_text(render(comparison, found), encoding="utf-8")
        typer.echo(plot, err=as_json)


def _print(comparison: Comparison) -> None:
    print_table(("run", "which"), zip(comparison.runs, comparison.about, strict=True), title="Runs")
    _print_rows("Settings that differ", comparison.runs, comparison.settings)
    _print_rows("Data, code and machines that differ", comparison.runs, comparison.facts)
    print_table(
        ("metric", *comparison.runs),
        [
            (name, *(_figure(metric) for metric in metrics))
            for name, metrics in comparison.metrics.items()
        ],
        title="On the test set, with 95 % intervals",
    )
    paired = [one for one in comparison.differences if one.paired]
    if paired:
        print_table(
            ("run", "metric", "difference", "95 % interval", "p", "images", ""),
            [_difference(one) for one in paired],
            title=f"Paired differences to {comparison.runs[0]}",
        )
    others = [(one.run, one.reason) for one in comparison.differences if not one.paired]
    for run, reason in dict.fromkeys(others):
        metrics = [
            one.metric for one in comparison.differences if (one.run, one.reason) == (run, reason)
        ]
        typer.echo(f"no paired difference of {run} ({', '.join(metrics)}): {reason}")
    for note in comparison.notes:
        typer.echo(f"note  {note}")


def _print_rows(title: str, runs: Sequence[str], rows: Sequence[Row]) -> None:
    from roadwork.evaluation.comparison import shown

    if rows:
        print_table(("", *runs), [(row.key, *map(shown, row.values)) for row in rows], title=title)
    else:
        typer.echo(f" {title}: none\n")


def _figure(metric: Metric | None) -> str | None:
    from roadwork.evaluation.verdict import number, span

    if metric is None or metric.value is None:
        return metric.reason if metric else None
    bounds = span(metric.low, metric.high)
    return f"{number(metric.value)} ({bounds})" if bounds else number(metric.value)


def _difference(one: Difference) -> tuple[object, ...]:
    from roadwork.evaluation.verdict import number, span

    pair = one.paired
    return (
        one.run,
        one.metric,
        number(pair.difference if pair else None, signed=True),
        (span(pair.low, pair.high) if pair else "") or None,
        number(pair.share if pair else None),
        one.images,
        one.verdict,
    )
