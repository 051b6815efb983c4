"""``roadwork data``: generate, fetch, ingest, split, profile, shard, and show data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.data_fetch import fetch
from cli.data_show import show
from cli.output import print_table

__all__ = ["data_commands"]

data_commands = typer.Typer(help="Bring, check and version data.", no_args_is_help=True)
data_commands.command()(fetch)
data_commands.command()(show)

Config = Annotated[Path | None, typer.Option(help="Settings (YAML); by default those of the demo.")]
ManifestFolder = Annotated[Path, typer.Option(help="Folder that `roadwork data ingest` wrote.")]


@data_commands.command()
def generate(
    to: Annotated[Path, typer.Option(help="New folder for the data set.")],
    as_format: Annotated[
        str, typer.Option("--as", help="folder, natix, cmu_roadwork or mapillary.")
    ] = "folder",
    drives: Annotated[int, typer.Option(help="Streets; each belongs to one camera family.")] = 60,
    seed: Annotated[int, typer.Option(help="Equal seeds, equal bytes.")] = 0,
    size: Annotated[str, typer.Option(help="Pixels, such as 512x288.")] = "512x288",
) -> None:
    """Draw street scenes and write them in a real data set's exact format."""
    from roadwork.data.generate import FORMATS
    from roadwork.data.generate import generate as write
    from roadwork.data.scenes import SceneSettings

    width, height = _pixels(size)
    settings = SceneSettings(seed=seed, drives=drives, width=width, height=height)
    rows = write(as_format, to, settings)
    typer.echo(f"{rows} rows of generated scenes in {to} ({FORMATS[as_format].title})")
    entry = {**FORMATS[as_format].settings, "root": str(to)}
    typer.echo("data.sources: " + ", ".join(f"{key}: {value}" for key, value in entry.items()))


@data_commands.command()
def ingest(
    to: Annotated[Path, typer.Option(help="New folder for the manifest.")],
    config: Config = None,
) -> None:
    """Read every source, find copies, and write the manifest with its fusion report.

    Addresses below the current folder are written relative to it: run later commands here too.
    """
    from roadwork.data.folders import new_folder, relative_addresses
    from roadwork.data.fusion_report import fusion_report
    from roadwork.data.ingest import ingest as read
    from roadwork.data.sources import open_sources
    from roadwork.settings import load_settings, resolve

    settings = resolve(load_settings(config))
    embed = None
    if settings.data.fusion.embedding_cosine is not None:
        from roadwork.models.embedder import embed_images as embed
    with new_folder(to) as partial:
        found = read(open_sources(settings), settings.data, embed)
        manifest = relative_addresses(found, Path.cwd())
        report = fusion_report(manifest, settings.data.fusion)
        manifest.save(partial)
        (partial / "fusion.json").write_text(report.to_json(), encoding="utf-8")
        (partial / "fusion.html").write_text(report.html, encoding="utf-8")
    typer.echo(report.text)
    typer.echo(f"manifest  {to}\nreport    {to / 'fusion.html'}")


@data_commands.command()
def split(
    manifest: ManifestFolder,
    to: Annotated[Path, typer.Option(help="New folder for the five sets.")],
    config: Config = None,
) -> None:
    """Cut a manifest into the five sets, and prove that nothing leaks between them.

    If the validation fails, the folder holds its report and no sets.
    """
    from roadwork.data.folders import load_manifest, new_folder, save_splits
    from roadwork.data.splits import cut
    from roadwork.data.validation import require_valid, validate_manifest
    from roadwork.settings import load_settings, resolve

    settings = resolve(load_settings(config))
    loaded = load_manifest(manifest)
    with new_folder(to) as partial:
        splits = cut(loaded, settings.split, settings.seed)
        held_out = settings.split.held_out_sources
        report = validate_manifest(loaded, splits, settings.data, held_out)
        if report.success:
            save_splits(splits, partial)
        (partial / "validation.json").write_text(
            report.model_dump_json(indent=1) + "\n", encoding="utf-8"
        )
        (partial / "validation.html").write_text(report.html, encoding="utf-8")
    typer.echo(f"report  {to / 'validation.html'}")
    require_valid(report)
    rows = [
        (part.role, len(part), len(set(part.groups.tolist())), int((part.labels > 0).sum()))
        for part in splits.each()
    ]
    print_table(("set", "images", "groups", "roadwork"), rows)


@data_commands.command()
def profile(
    manifest: ManifestFolder,
    to: Annotated[Path, typer.Option(help="New JSON file; name it in data.reference.")],
) -> None:
    """Describe accepted data, so that later data can be held against it."""
    from roadwork.data.folders import load_manifest
    from roadwork.data.profile import profile_of
    from roadwork.errors import ConfigError

    if to.exists():
        raise ConfigError(f"{to} is there already: name another file, or delete it")
    found = profile_of(load_manifest(manifest))
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_text(found.to_json(), encoding="utf-8")
    rows = [
        (name, source.images, source.groups, f"{source.prior:.3f}")
        for name, source in found.sources.items()
    ]
    print_table(("source", "images", "groups", "share of roadwork"), rows)
    typer.echo(f"data.reference: {to}")


@data_commands.command()
def shard(
    dataset: Annotated[
        Path, typer.Option("--set", help="Folder of one set, such as DIR/train after a split.")
    ],
    to: Annotated[str, typer.Option(help="Folder or address (s3://bucket/prefix) of the shards.")],
    megabytes: Annotated[int, typer.Option(min=1, help="No shard is larger.")] = 256,
    seed: Annotated[int, typer.Option(help="Of the order in which photographs are mixed.")] = 0,
) -> None:
    """Write the photographs of a set as tar archives, for training from an object store.

    An interrupted call goes on where it stopped.
    """
    from roadwork.data.folders import load_set
    from roadwork.data.shards import write_shards

    written = write_shards(load_set(dataset), to, max_bytes=megabytes << 20, seed=seed)
    shards = {uri.partition("#")[0] for uri in written.uris}
    typer.echo(
        f"{len(written)} photographs of the {written.role} set in {len(shards)} shards: {to}"
    )


@data_commands.command()
def leave_out(
    config: Config = None,
    to: Annotated[
        Path | None, typer.Option(help="Folder for the report; default: in the runs folder.")
    ] = None,
) -> None:
    """Train without each source in turn, and judge on the one that was left out."""
    from roadwork.data.ingest import ingest as read
    from roadwork.data.sources import open_sources
    from roadwork.errors import ConfigError
    from roadwork.evaluation.leave_one_out import FILE, run_leave_one_out
    from roadwork.settings import load_settings, resolve

    settings = resolve(load_settings(config))
    folder = to or Path(settings.runs or "runs") / "leave-out" / settings.name
    if (folder / FILE).exists():
        raise ConfigError(f"{folder / FILE} is there already: name another folder with --to")
    manifest = read(open_sources(settings), settings.data)
    report = run_leave_one_out(manifest, settings, folder)
    typer.echo(f"{report.table()}\nreport  {folder / FILE}")


def _pixels(size: str) -> tuple[int, int]:
    from roadwork.errors import ConfigError

    width, cross, height = size.partition("x")
    if not (cross and width.isdigit() and height.isdigit()):
        raise ConfigError(f"--size {size}: write width and height in pixels, such as 512x288")
    return int(width), int(height)
