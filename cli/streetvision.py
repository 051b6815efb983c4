"""``roadwork streetvision``: bundles ranked by what StreetVision's validators would pay them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from roadwork.evaluation.streetvision import StreetVisionReport

__all__ = ["streetvision"]

_BAR = 20  # characters of a reward of 1


def streetvision(
    bundles: Annotated[
        list[str], typer.Argument(help="Folders of bundles, or aliases such as champion.")
    ],
    data: Annotated[
        str,
        typer.Option(help="Labelled photographs no bundle has seen: a folder, a CSV, an address."),
    ],
    challenges: Annotated[
        int, typer.Option(help="Challenges of a sequence; the first 100 are not counted.")
    ] = 500,
    seeds: Annotated[int, typer.Option(help="Sequences of challenges.")] = 5,
    synthetic: Annotated[
        str | None,
        typer.Option(help="Labelled pictures like those of the validators' diffusion models."),
    ] = None,
    synthetic_share: Annotated[
        float, typer.Option(help="Share of the challenges that show them; validators: 0.5.")
    ] = 0.5,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead.")] = False,
) -> None:
    """Rank bundles by what StreetVision would pay for their answers.

    Simulates the subnet's challenges on your photographs and its reward. A bundle refuses
    photographs, and drives, that it was fitted on.
    """
    from cli.output import print_json
    from registry import resolve_bundle
    from roadwork.environment import Environment
    from roadwork.errors import ConfigError
    from roadwork.predictor import Predictor
    from roadwork.streetvision import labelled_photographs, simulate_bundles

    if len(set(bundles)) != len(bundles):
        raise ConfigError(f"a bundle is named twice: {', '.join(bundles)}")
    environment = Environment()
    found = simulate_bundles(
        {
            name: Predictor(resolve_bundle(name), environment.engine, environment.threads)
            for name in bundles
        },
        labelled_photographs(data),
        challenges=challenges,
        seeds=seeds,
        synthetic=None if synthetic is None else labelled_photographs(synthetic),
        synthetic_share=synthetic_share,
    )
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        _print(found)


def _print(found: StreetVisionReport) -> None:
    from cli.output import print_table

    pictures = f"{found.photographs} photographs"
    if found.synthetic_pictures:
        pictures += f" and {found.synthetic_pictures} synthetic pictures"
    typer.echo(
        f"{found.seeds} x {found.challenges} challenges made of {pictures}, {found.groups} groups"
    )
    ranked = list(enumerate(found.models, start=1))
    for rank, model in ranked:
        typer.echo(f"{rank}  {model.name}")
    print_table(
        ("", "reward", "95 % interval", "", "MCC", "accuracy", "score"),
        [
            (
                rank,
                f"{model.reward:.3f}",
                _interval(model.low, model.high),
                _bar(model.reward),
                _number(model.mcc),
                _number(model.accuracy),
                f"{model.score:.3f}",
            )
            for rank, model in ranked
        ],
        title=f"Expected reward: mean over the challenges after the first {found.warm_up}",
    )
    kinds = [
        (model.levels + model.origins if len(model.origins) > 1 else model.levels)
        for model in found.models
    ]
    print_table(
        ("if all were …", *(f"{rank}: reward MCC accuracy" for rank, _ in ranked)),
        [
            (
                parts[0].name,
                *(
                    f"{_number(part.reward)}  {_number(part.mcc)}  {_number(part.accuracy)}"
                    for part in parts
                ),
            )
            for parts in zip(*kinds, strict=True)
        ],
    )
    for rank, gap in enumerate(found.differences, start=2):
        typer.echo(f"{rank} less 1: {gap.difference:+.3f} ({_interval(gap.low, gap.high)})")
    for rank, model in ranked:
        choice = model.threshold
        gain = (
            choice.reason
            if choice.gain is None
            else f"gain on other groups {choice.gain:+.3f} ({_interval(choice.low, choice.high)})"
        )
        typer.echo(f"{rank}: threshold of the largest MCC {choice.threshold:.3f}, {gain}")
    for note in (*([found.reason] if found.reason else []), *found.notes):
        typer.echo(f"note  {note}")


def _bar(reward: float) -> str:
    eighths = round(reward * _BAR * 8)
    rest = " ▏▎▍▌▋▊▉"[eighths % 8].strip()
    return "█" * (eighths // 8) + rest


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _interval(low: float | None, high: float | None) -> str:
    return "no interval" if low is None or high is None else f"{low:.3f} to {high:.3f}"
