"""``roadwork promote`` and ``roadwork rollback``: which version serves."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated

import typer

from cli.output import print_json, print_verdict

__all__ = ["promote", "rollback"]

Reason = Annotated[str, typer.Option(help="Why; kept in the promotions log.")]
Actor = Annotated[str, typer.Option(help="Who decides.", default_factory=getpass.getuser)]


def promote(
    reason: Reason,
    actor: Actor,
    version: Annotated[str, typer.Argument(help="Version or alias.")] = "candidate",
    accept_unpaired: Annotated[
        bool,
        typer.Option(
            "--accept-unpaired",
            help="Accept one that cannot be compared with the champion on the same images.",
        ),
    ] = False,
    config: Annotated[
        Path | None, typer.Option(help="Settings with other thresholds than the bundle's own.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the verdict and change nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdict as JSON.")] = False,
) -> None:
    """Let a version that passes the gate become champion; leaves with 3 when it does not."""
    from registry import collect_evidence, existing_registry, find_version
    from registry import promote as promote_version
    from registry.promotions import judge
    from roadwork.settings import load_settings

    registry = existing_registry()
    number = str(find_version(registry, version).version)
    settings = load_settings(config).promote if config else None
    evidence = collect_evidence(registry, number, settings)
    verdict = judge(
        registry,
        number,
        evidence=evidence,
        unpaired_reason=reason if accept_unpaired else None,
    )
    print_json(verdict.model_dump(mode="json")) if as_json else print_verdict(verdict)
    if dry_run:
        verdict.require()
        return
    done = promote_version(
        number,
        actor=actor,
        reason=reason,
        evidence=evidence,
        accept_unpaired=accept_unpaired,
        registry=registry,
    )
    if not as_json:
        was = {"promote": "is champion now", "unchanged": "is champion already"}[done.action]
        before = f"; before it: version {done.replaced}" if done.action == "promote" else ""
        typer.echo(f"version {done.version} {was}{before if done.replaced else ''}")


def rollback(reason: Reason, actor: Actor) -> None:
    """Let the previous champion serve again."""
    from registry import rollback as roll_back

    done = roll_back(actor=actor, reason=reason)
    typer.echo(f"version {done.version} is champion again; before it: version {done.replaced}")
