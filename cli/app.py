"""The application: its commands, its global options, and how errors end it.

Exit codes: 0 done, 1 failure, 2 wrong usage or settings, 3 the promotion gate failed.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cli.bundle import bundle_commands
from cli.catalogue import list_entries
from cli.compare import compare
from cli.config import config_commands
from cli.data import data_commands
from cli.demo import demo
from cli.doctor import doctor
from cli.export import export
from cli.predict import predict
from cli.promote import promote, rollback
from cli.report import report
from cli.streetvision import streetvision
from roadwork import __version__
from roadwork.errors import RoadworkError

__all__ = ["app", "main"]


class Shell(TyperGroup):
    """Prints errors that are meant for people as one message, and leaves with their exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command; ``--debug`` lets the traceback through."""
        try:
            return super().invoke(ctx)
        except RoadworkError as error:
            if ctx.params.get("debug"):
                raise
            _complain(str(error))
            raise typer.Exit(error.exit_code) from None
        except ModuleNotFoundError as error:
            if ctx.params.get("debug"):
                raise
            _complain(
                f"the package {error.name} is not installed: `roadwork doctor` says which extra "
                "of roadwork brings what is missing"
            )
            raise typer.Exit(1) from None
        except OSError as error:
            if ctx.params.get("debug"):
                raise
            where = f": {error.filename}" if error.filename else ""
            _complain(f"{error.strerror or error}{where}")
            raise typer.Exit(1) from None


app = typer.Typer(
    cls=Shell,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train, certify, serve and watch a classifier of roadwork in photographs.",
)
app.command()(demo)
app.command()(doctor)
app.command()(predict)
app.command()(report)
app.command()(streetvision)
app.command()(export)
app.command()(compare)
app.command()(promote)
app.command()(rollback)
app.command(name="list")(list_entries)
app.add_typer(bundle_commands, name="bundle")
app.add_typer(config_commands, name="config")
app.add_typer(data_commands, name="data")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"roadwork {__version__}")
        raise typer.Exit


@app.callback()
def options(
    ctx: typer.Context,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error, and every log line.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Show warnings and errors alone.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and leave."
        ),
    ] = False,
) -> None:
    """Set up logging for every command."""
    from roadwork.environment import silence_telemetry

    silence_telemetry()
    level = logging.DEBUG if debug else logging.WARNING if quiet else logging.INFO
    ctx.call_on_close(_log_to_stderr(level))


def _log_to_stderr(level: int) -> Callable[[], None]:
    """Let our loggers write plain lines; gives what puts them back as they were."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    loggers = [logging.getLogger(name) for name in ("roadwork", "registry", "cli")]
    before = [(logger, logger.level, logger.handlers, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.setLevel(level)
        logger.handlers = [handler]
        logger.propagate = False

    def restore() -> None:
        for logger, old_level, handlers, propagate in before:
            logger.setLevel(old_level)
            logger.handlers = handlers
            logger.propagate = propagate

    return restore


def main() -> None:
    """Entry point of the installed command."""
    app(prog_name="roadwork")


def _complain(message: str) -> None:
    typer.secho("error: ", fg="red", bold=True, nl=False, err=True)
    typer.echo(message, err=True)
