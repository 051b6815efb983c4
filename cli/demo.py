"""``roadwork demo``: the whole pipeline, from generated scenes to a registered bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.output import print_json, print_table

__all__ = ["demo"]

SHOWN = ("auroc", "mcc", "f1", "accuracy", "brier", "ece_positive", "coverage", "defer")


def demo(
    config: Annotated[
        Path | None, typer.Option(help="Settings (YAML); by default those of the demo.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Run the training pipeline and say where the results are."""
    # The twin in Python; it is imported by name because pipelines need ZenML.
    from pipelines.training import run_training

    summary: dict[str, Any] = json.loads(Path(run_training(config)).read_text(encoding="utf-8"))
    if as_json:
        print_json(summary)
        return
    metrics = summary["metrics"]
    rows = [(name, f"{metrics[name]:.4f}") for name in SHOWN if metrics.get(name) is not None]
    print_table(("test metric", "value"), rows)
    seconds, cached = summary["seconds"], len(summary["cached_steps"])
    typer.echo(f"version  {summary['version']} (alias {summary['alias']})")
    typer.echo(f"bundle   {summary['bundle']}")
    typer.echo(f"report   {summary['report']}")
    typer.echo(f"time     {seconds:.0f} s, {cached} steps from the cache")
    typer.echo(
        "\nNext:\n"
        f"  roadwork predict --bundle {summary['alias']} --images FOLDER --out answers.parquet\n"
        f"  roadwork promote {summary['version']} --reason 'why'\n"
        "  bentoml serve"
    )
