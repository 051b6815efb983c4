"""``roadwork config``: settings as they resolve, their schema, and the environment variables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.output import print_json, print_table

__all__ = ["config_commands"]

config_commands = typer.Typer(help="Show settings and environment.", no_args_is_help=True)


@config_commands.command()
def show(
    config: Annotated[
        Path | None, typer.Option(help="Settings (YAML); by default the demo.")
    ] = None,
) -> None:
    """Print the settings with every `auto` resolved, as YAML."""
    import yaml

    from roadwork.settings import load_settings, resolve

    tree = resolve(load_settings(config)).model_dump(mode="json")
    typer.echo(yaml.safe_dump(tree, sort_keys=False, allow_unicode=True), nl=False)


@config_commands.command()
def schema() -> None:
    """Print the JSON Schema of the settings, for editors."""
    from roadwork.settings import json_schema

    print_json(json_schema())


@config_commands.command()
def env() -> None:
    """List the environment variables that roadwork reads."""
    from roadwork.environment import Environment

    now = Environment()
    prefix = Environment.model_config.get("env_prefix", "")
    rows = [
        (f"{prefix}{name}".upper(), getattr(now, name), field.default, field.description)
        for name, field in Environment.model_fields.items()
    ]
    print_table(("variable", "now", "default", "meaning"), rows)
