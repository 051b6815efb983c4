"""``roadwork bundle``: fetch a bundle, and check that one is intact."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["bundle_commands"]

bundle_commands = typer.Typer(help="Fetch and verify bundles.", no_args_is_help=True)


@bundle_commands.command()
def pull(
    reference: Annotated[str, typer.Argument(help="Alias or version, such as champion.")],
    to: Annotated[Path, typer.Option(help="New folder for the bundle.")],
) -> None:
    """Copy a registered bundle into a folder and verify it."""
    from registry import pull as pull_bundle

    bundle = pull_bundle(reference, to)
    typer.echo(f"{bundle.path}\n{bundle.hash}")


@bundle_commands.command()
def verify(
    path: Annotated[Path, typer.Argument(help="Folder of a bundle.")],
    self_test: Annotated[
        bool, typer.Option("--self-test", help="Also answer its golden pictures.")
    ] = False,
) -> None:
    """Compare every byte of a bundle with its manifest, and say what the bundle is."""
    from roadwork.bundle import ModelBundle
    from roadwork.data.views import tile_count

    bundle = ModelBundle.open(path)
    config = bundle.config
    typer.echo(f"intact      {len(bundle.digests)} files")
    typer.echo(f"hash        {bundle.hash}")
    tiles = tile_count(config.tiles)
    typer.echo(f"model       {config.backbone}, {config.image_size} px, {tiles} tiles")
    typer.echo(f"classes     {', '.join(config.classes)}")
    typer.echo(f"engines     {', '.join(bundle.parity.accepted) or 'none accepted'}")
    typer.echo(f"guarantee   {bundle.conformal.guarantee}")
    if self_test:
        from roadwork.predictor import Predictor

        passed = Predictor(bundle).self_test()
        typer.echo(
            f"self-test   {passed.images} pictures, largest difference of a probability "
            f"{passed.max_probability_difference:.2g} ({passed.engine})"
        )
