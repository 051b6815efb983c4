"""``roadwork report``: where a bundle's report is, or a new one on new labelled photographs."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Annotated

import typer

__all__ = ["report"]


def report(
    bundle: Annotated[
        str | None,
        typer.Option(help="Folder of a bundle, or an alias; default: the newest version."),
    ] = None,
    run: Annotated[
        str | None, typer.Option(help="latest, or the name of the run that registered the bundle.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="New labelled photographs: a folder, a CSV, or the address of either."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="HTML file of the new report; JSON goes beside it.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the files if they exist.")
    ] = False,
) -> None:
    """Show where a bundle's report is; with --data, judge the bundle on new photographs.

    A bundle refuses photographs, and drives, that it was fitted on.
    """
    from registry import existing_registry, resolve_bundle, version_of_run
    from roadwork.errors import ConfigError

    if bundle and run:
        raise ConfigError("give --bundle or --run, not both")
    reference = bundle or version_of_run(existing_registry(), run or "latest")
    folder = resolve_bundle(reference)
    if data is None:
        typer.echo((folder / "report.html").resolve())
        return
    if out is None:
        raise ConfigError("--data needs --out, the HTML file to write")
    pages = (out, out.with_suffix(".json"))
    for page in pages:
        if page.exists() and not overwrite:
            raise ConfigError(f"{page} exists already: name another file, or give --overwrite")
    _evaluate(folder, data, pages)


def _evaluate(folder: Path, data: str, pages: tuple[Path, Path]) -> None:
    from roadwork.data.ingest import ingest
    from roadwork.data.sources.image_folder import ImageFolder
    from roadwork.environment import Environment
    from roadwork.evaluation.report import render_html
    from roadwork.predictor import Predictor
    from roadwork.reevaluation import labelled_source, reevaluate
    from roadwork.settings import DataSettings

    environment = Environment()
    source = labelled_source(data)
    manifest = ingest([ImageFolder(source)], DataSettings(sources=(source,)))
    predictor = Predictor(folder, environment.engine, environment.threads)
    found = reevaluate(predictor, manifest, name=PurePath(data).stem, source=source)
    pages[0].parent.mkdir(parents=True, exist_ok=True)
    pages[1].write_text(found.to_json(), encoding="utf-8")
    pages[0].write_text(render_html(found), encoding="utf-8")
    for page in pages:
        typer.echo(page)
