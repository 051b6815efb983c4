"""The report in plain words: one headline, and findings that follow from fixed rules.

The rules look at intervals, never at a bare value: a model "beats" something when the whole
interval lies on the better side, and a promise is "broken" when so few hits would be improbable
if it were kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

from roadwork.evaluation.bootstrap import PairedDifference
from roadwork.evaluation.metrics import METRICS, Metric
from roadwork.evaluation.record import Coverage, EvaluationReport
from roadwork.evaluation.slices import NULL

__all__ = [
    "DASH",
    "SYNTHETIC",
    "Finding",
    "findings",
    "headline",
    "in_order",
    "number",
    "percent",
    "short_title",
    "slice_name",
    "span",
]

SYNTHETIC = (
    "These photographs are generated scenes. The figures show that the machinery works; they are "
    "no evidence about real roads."
)

FEW_GROUPS = 20
"""Percentile intervals from fewer resampled groups than about this are known to be too narrow."""

_BEYOND_CHANCE = 0.05
"""A shortfall that a kept promise gives less often than this is called broken."""

DASH = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"

_ORDER = {
    name: place
    for place, name in enumerate(
        ("pretrain", "train", "select", "calibrate", "conformal", "conformalise", "test")
    )
}
_RANK = {"bad": 0, "unclear": 1, "good": 2}


T = TypeVar("T")


@dataclass(frozen=True)
class Finding:
    """One sentence or two, and whether they speak for the model."""

    tone: Literal["good", "unclear", "bad"]
    short: str
    text: str


def number(value: float | None, digits: int = 3, *, signed: bool = False) -> str:
    """A number with a true minus sign, or a dash for None."""
    if value is None:
        return DASH
    text = f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"
    return text.replace("-", MINUS)


def percent(value: float | None) -> str:
    """A share as a percentage with one decimal, such as "93.6 %", or a dash for None."""
    return DASH if value is None else f"{100 * value:.1f}\N{NO-BREAK SPACE}%"


def in_order(table: Mapping[str, T]) -> list[tuple[str, T]]:
    """Entries by role or use of data in the order of a run; other names after them, sorted."""
    return sorted(table.items(), key=lambda item: (_ORDER.get(item[0], len(_ORDER)), item[0]))


def slice_name(name: str) -> str:
    """Name of a slice for people: images without a value are "not known"."""
    return "not known" if name == NULL else name


def short_title(metric: str) -> str:
    """Title of a metric without its definition, such as "Brier score"."""
    return METRICS[metric].title.partition(",")[0]


def span(low: float | None, high: float | None, *, shares: bool = False) -> str:
    """An interval such as "0.905 to 0.965", or the empty text when there is none."""
    if low is None or high is None:
        return ""
    written = percent if shares else number
    return f"{written(low)} to {written(high)}"


def headline(report: EvaluationReport) -> str:
    """The findings on discrimination and on the promise, in one short sentence."""
    ranking, promise = _ranking(report), _promise(report)
    tones = {ranking.tone, promise.tone}
    return f"{ranking.short}, {'but' if tones == {'good', 'bad'} else 'and'} {promise.short}."


def findings(report: EvaluationReport) -> tuple[Finding, ...]:
    """What a reader should know, in order: ranking, baseline, promise, deferral."""
    found = [_ranking(report)]
    if report.comparison:
        found.append(_rival(report))
    return (*found, _promise(report), _deferral(report))


def _ranking(report: EvaluationReport) -> Finding:
    auroc = report.metric("auroc")
    where = (
        f"{report.test.n} test images from {report.test.n_groups} groups that nothing was fitted on"
    )
    if auroc is None or auroc.value is None:
        reason = auroc.reason if auroc else "AUROC was not computed"
        return Finding(
            "unclear",
            "It cannot be judged whether the model recognises roadwork",
            f"On {where}, the ranking cannot be judged: {reason}.",
        )
    text = (
        f"On {where}, an image with roadwork scores above one without it in "
        f"{percent(auroc.value)} of all pairs{_within(auroc)}. Guessing would reach 50\u00a0%."
    )
    if auroc.low is None or auroc.high is None:
        return Finding("unclear", "How well the model recognises roadwork is uncertain", text)
    if report.test.n_groups < FEW_GROUPS:
        few = f"{text} With fewer than {FEW_GROUPS} groups the interval is too narrow to rely on."
        return Finding("unclear", "There are too few groups for a verdict on the ranking", few)
    if auroc.low > 0.5:
        return Finding("good", "The model recognises roadwork", text)
    if auroc.high < 0.5:
        return Finding("bad", "The model ranks worse than guessing", text)
    return Finding("bad", "The model cannot be told from guessing", text)


def _within(metric: Metric) -> str:
    bounds = span(metric.low, metric.high, shares=True)
    return f" (95\u00a0% interval {bounds})" if bounds else ""


def _rival(report: EvaluationReport) -> Finding:
    row = report.row("baseline")
    rival = f'"{row.title}"' if row else "the baseline"
    tones = {pair.metric: _better(pair) for pair in report.comparison}
    parts = [
        f"{short_title(pair.metric)} {number(pair.difference, signed=True)}"
        f"{f' ({span(pair.low, pair.high)})' if pair.low is not None else ''}"
        for pair in report.comparison
    ]
    wins = sum(tone == "good" for tone in tones.values())
    losses = sum(tone == "bad" for tone in tones.values())
    figures = f"Model less baseline: {'; '.join(parts)}."
    if losses:
        return Finding(
            "bad", "the baseline is better", f"It is worse than the baseline, {rival}. {figures}"
        )
    if wins == len(tones):
        return Finding(
            "good", "it beats the baseline", f"It beats the baseline, {rival}. {figures}"
        )
    some = "on some figures only" if wins else "on no figure"
    return Finding(
        "unclear",
        "it does not clearly beat the baseline",
        f"It beats the baseline, {rival}, {some}. {figures}",
    )


def _better(pair: PairedDifference) -> Literal["good", "unclear", "bad"]:
    if pair.low is None or pair.high is None or pair.low <= 0.0 <= pair.high:
        return "unclear"
    return "good" if (pair.low > 0.0) == METRICS[pair.metric].higher_is_better else "bad"


def _promise(report: EvaluationReport) -> Finding:
    sets = report.conformal
    promised = (
        {f"'{name}' images": sets.classes[name] for name in report.classes}
        if sets.per_class
        else {"all images": sets.marginal}
    )
    worst = min((_kept(found, sets.target) for found in promised.values()), key=_RANK.__getitem__)
    parts = [f"{percent(found.value)} of {found.n} {name}" for name, found in promised.items()]
    text = (
        f"The prediction sets hold the true label for {' and '.join(parts)}; "
        f"promised: at least {percent(sets.target)}."
    )
    if worst == "good":
        return Finding("good", "its prediction sets keep their promise", text)
    if worst == "unclear":
        return Finding(
            "unclear",
            "its prediction sets are compatible with their promise",
            f"{text} What is missing is within the range of chance, or cannot be judged.",
        )
    return Finding(
        "bad",
        "its prediction sets break their promise",
        f"{text} The shortfall is larger than chance explains, also when images of one group count "
        "for fewer than they are.",
    )


def _kept(found: Coverage, target: float) -> Literal["good", "unclear", "bad"]:
    if found.value is None or found.chance is None:
        return "unclear"
    if found.value >= target:
        return "good"
    return "bad" if found.chance < _BEYOND_CHANCE else "unclear"


def _deferral(report: EvaluationReport) -> Finding:
    sets, plain = report.conformal, report.metric("accuracy")
    accuracy = sets.accepted_accuracy.value
    if accuracy is None:
        return Finding("bad", "it answers nothing alone", "Every image goes to a person.")
    text = (
        f"It answers {percent(1 - sets.defer)} of the images alone and is right in "
        f"{percent(accuracy)} of these answers"
    )
    if plain is None or plain.value is None:
        return Finding("unclear", "it defers", f"{text}.")
    return Finding(
        "good" if accuracy >= plain.value else "unclear",
        "it defers",
        f"{text}; if it answered every image, it would be right in {percent(plain.value)}. The "
        f"other {percent(sets.defer)} go to a person.",
    )
