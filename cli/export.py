"""``roadwork export``: a bundle in the form that somebody else's platform demands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from roadwork.export.streetvision import OperatingPoint
    from roadwork.predictor import Predictor

__all__ = ["export"]

TARGETS = ("streetvision",)


def export(
    target: Annotated[str, typer.Option(help=f"Platform: {', '.join(TARGETS)}.")],
    bundle: Annotated[str, typer.Option(help="Folder of a bundle, or an alias such as champion.")],
    to: Annotated[Path, typer.Option(help="New folder.")],
    name: Annotated[str, typer.Option(help="Name of the model; free.")],
    version: Annotated[str, typer.Option(help="Version X.Y.Z.")],
    hotkey: Annotated[str, typer.Option(help="SS58 address of the wallet's hotkey.")],
    description: Annotated[str | None, typer.Option(help="One line about the model.")] = None,
    data: Annotated[
        str | None,
        typer.Option(help="Labelled photographs to fit the threshold on, unseen by the bundle."),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="Probability that becomes 0.5; default: the bundle's threshold."),
    ] = None,
    challenges: Annotated[int, typer.Option(help="With --data: challenges of a sequence.")] = 500,
    seeds: Annotated[int, typer.Option(help="With --data: sequences of challenges.")] = 5,
    submitted: Annotated[
        str | None,
        typer.Option("--time", help="Unix seconds or ISO 8601 with a zone; default: now."),
    ] = None,
) -> None:
    """Write a bundle as StreetVision demands it: ONNX, labels, model card, threshold at 0.5.

    The folder is read back and must answer like the bundle. Photographs given with --data are
    used up: judge neither the bundle nor the export on them.
    """
    from registry import resolve_bundle
    from roadwork.environment import Environment
    from roadwork.errors import ConfigError
    from roadwork.export.streetvision import Submission, export_streetvision
    from roadwork.export.streetvision.submission import parse_time
    from roadwork.predictor import Predictor

    if target not in TARGETS:
        raise ConfigError(f"there is no target {target!r}; known are {', '.join(TARGETS)}")
    if data is not None and threshold is not None:
        raise ConfigError("give --data or --threshold, not both")
    if to.exists():
        raise ConfigError(f"{to} exists already: name a folder that does not")
    folder = resolve_bundle(bundle)
    # What was typed is checked before the bundle is opened, which takes longer.
    submission = Submission(
        name=name,
        version=version,
        hotkey=hotkey,
        description=description or "Roadwork or none in a street photograph.",
        submitted=parse_time(submitted),
    )
    environment = Environment()
    predictor = Predictor(folder, environment.engine, environment.threads)
    point = _point(predictor, data, threshold, challenges, seeds)
    made = export_streetvision(predictor, submission, point, to)
    typer.echo(f"written     {made.folder}")
    typer.echo(f"threshold   {point.threshold:.4f} lies at 0.5 (logit {point.shift:+.4f})")
    typer.echo(f"            {_origin(point)}")
    typer.echo(
        f"checked     {made.queries} pictures, largest difference of a probability "
        f"{made.max_difference:.1e}; {made.undecided} too near to the threshold to compare"
    )


def _point(
    predictor: Predictor, data: str | None, threshold: float | None, challenges: int, seeds: int
) -> OperatingPoint:
    from roadwork.export.streetvision import fitted_point, given_point
    from roadwork.streetvision import labelled_photographs

    if data is None:
        return given_point(predictor, threshold)
    return fitted_point(predictor, labelled_photographs(data), challenges=challenges, seeds=seeds)


def _origin(point: OperatingPoint) -> str:
    if point.origin == "given":
        return "as given"
    if point.origin == "policy":
        return "the bundle's own; give --data to fit one on photographs"
    choice = point.choice
    if choice is None or choice.gain is None:
        return "the bundle's own: there are too few groups to judge a fitted one"
    judged = f"{choice.gain:+.3f} on other groups"
    if choice.low is not None and choice.high is not None:
        judged += f" ({choice.low:+.3f} to {choice.high:+.3f})"
    if point.origin == "fitted":
        return f"fitted on {point.photographs} photographs; gain {judged}"
    return f"the bundle's own: a fitted one, {choice.threshold:.4f}, brought {judged}"
