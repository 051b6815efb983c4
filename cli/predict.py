"""``roadwork predict``: answers for a folder or a CSV of photographs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["predict"]


def predict(
    images: Annotated[Path, typer.Option(help="Folder, or CSV with a column `file`.")],
    out: Annotated[Path, typer.Option(help="Parquet file to write.")],
    bundle: Annotated[
        str, typer.Option(help="Folder of a bundle, or an alias such as champion.")
    ] = "champion",
    engine: Annotated[
        str | None,
        typer.Option(help="auto, openvino, onnxruntime, torch; default: ROADWORK_ENGINE."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the file if it exists.")
    ] = False,
) -> None:
    """Answer photographs; unreadable ones are listed beside the answers with their reasons."""
    from registry import resolve_bundle
    from roadwork.environment import Environment
    from roadwork.errors import ConfigError
    from roadwork.predictor import Predictor
    from roadwork.progress import progress
    from roadwork.scoring import list_images, score_files

    if out.exists() and not overwrite:
        raise ConfigError(f"{out} exists already: name another file, or give --overwrite")
    folder, names = list_images(images)
    environment = Environment()
    predictor = Predictor(resolve_bundle(bundle), engine or environment.engine, environment.threads)
    with progress("Answering") as update:
        summary = score_files(predictor, folder, names, out, update)
    typer.echo(
        f"{summary.answered} answered, {summary.deferred} of them deferred to a person, "
        f"{summary.refused} unreadable ({predictor.bundle.title}, {predictor.engine.name})"
    )
    typer.echo(f"answers     {summary.out}")
    if summary.quarantine:
        typer.echo(f"unreadable  {summary.quarantine}")
