"""``roadwork doctor``: what this machine has, what is missing, and how to get it."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.output import print_json, print_table

__all__ = ["doctor"]


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Examine the machine, the packages, the stores and the data folder."""
    from cli.health import examine

    found = examine()
    if as_json:
        print_json(found)
        return
    machine = found["machine"]
    rows = [(name.replace("_", " "), value) for name, value in machine.items()]
    rows += [(name.replace("_", " "), value) for name, value in found["stores"].items()]
    rows += [("telemetry", found["telemetry"])]
    print_table(("what", "found"), rows)
    extras = [
        (
            name,
            ", ".join(f"{key} {value}" for key, value in extra["installed"].items()) or None,
            ", ".join(extra["missing"]) or None,
            extra["fix"],
        )
        for name, extra in found["packages"].items()
    ]
    print_table(("extra", "installed", "missing", "fix"), extras)
    engines = [(one["name"], one["usable"], one["reason"]) for one in found["engines"]]
    print_table(("engine", "usable", "reason"), engines)
