"""``roadwork demo``: the whole pipeline, from generated scenes to a registered bundle."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.output import print_json, print_table

__all__ = ["demo"]

TITLES = {
    "auroc": "AUROC",
    "within_group_auroc": "AUROC within a drive",
    "mcc": "MCC",
    "f1": "F1",
    "accuracy": "accuracy",
    "brier": "Brier score",
    "ece_positive": "ECE",
    "coverage": "coverage of the sets",
    "singleton_share": "sets of one label",
}


def demo(
    config: Annotated[
        Path | None, typer.Option(help="Settings (YAML); by default those of the demo.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Run the training pipeline and say where the results are."""
    # The twin in Python; it is imported by name because pipelines need ZenML.
    from pipelines.run import run_training

    summary: dict[str, Any] = json.loads(Path(run_training(config)).read_text(encoding="utf-8"))
    if as_json:
        print_json(summary)
        return
    typer.echo("")
    print_table(("on the test set", "fine-tuned", "95 % interval", "baseline"), _rows(summary))
    if summary["synthetic"]:
        typer.echo("Generated scenes: these figures say nothing about real roads.")
    held = sum(check["passed"] for check in summary["gate"])
    typer.echo(f"\ngate     {held} of {len(summary['gate'])} checks passed")
    for check in summary["gate"]:
        if not check["passed"]:
            typer.echo(f"         {check['name']}: {check['detail']}")
    typer.echo(f"version  {summary['version']} (alias {summary['alias']})")
    typer.echo(f"bundle   {_short(summary['bundle'])}")
    typer.echo(f"bento    {summary['bento'] or 'none'}")
    typer.echo(f"report   {_short(summary['report'])}")
    cached = len(summary["cached_steps"])
    typer.echo(f"time     {summary['seconds']:.0f} s, {cached} steps from the cache")
    alias = summary["alias"]
    typer.echo(
        "\nNext:\n"
        "  source .venv/bin/activate\n"
        f"  roadwork predict --bundle {alias} --images FOLDER --out answers.parquet\n"
        "  bentoml serve    # then: curl -F image=@photo.jpg http://127.0.0.1:3000/predict"
    )


def _rows(summary: dict[str, Any]) -> list[tuple[str, ...]]:
    rows = []
    for name, title in TITLES.items():
        metric = summary["metrics"].get(name) or {}
        if metric.get("value") is None:
            continue
        interval = (
            f"{metric['low']:.3f} to {metric['high']:.3f}" if metric["low"] is not None else ""
        )
        simple = f"{metric['baseline']:.3f}" if metric["baseline"] is not None else ""
        rows.append((title, f"{metric['value']:.3f}", interval, simple))
    return rows


def _short(path: str | None) -> str:
    """The path as seen from here, where that is shorter."""
    if path is None:
        return "none"
    relative = os.path.relpath(path)
    return relative if len(relative) < len(path) else path
