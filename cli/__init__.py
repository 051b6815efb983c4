"""The command line: ``roadwork``. Every command has its twin in the library or the registry.

One file per command or group of commands. Only typer is imported at the top, so that ``--help`` is
there at once; everything else is imported by the command that needs it.
"""

from __future__ import annotations

from cli.app import app, main

__all__ = ["app", "main"]
