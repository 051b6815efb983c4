"""The report in plain words: one headline, and findings that follow from fixed rules.

The rules look at intervals, never at a bare value: a model "beats" something when the whole
interval lies on the better side, and a promise is "broken" when so few hits would be improbable
if it were kept.
"""

from __future__ import annotations

from typing import Literal

from roadwork.evaluation.bootstrap import PairedDifference
from roadwork.evaluation.metrics import METRICS, Metric
from roadwork.evaluation.record import Coverage, DeferRecord, EvaluationReport
from roadwork.evaluation.slice_tests import SliceTest
from roadwork.evaluation.wording import (
    DASH,
    Finding,
    in_order,
    number,
    percent,
    short_title,
    slice_name,
    span,
)

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
    "widest_gap",
]

SYNTHETIC = (
    "These photographs are generated scenes. The figures show that the machinery works; they are "
    "no evidence about real roads."
)

FEW_GROUPS = 20
"""Percentile intervals from fewer resampled groups than about this are known to be too narrow."""

_BEYOND_CHANCE = 0.05
"""A shortfall that a kept promise gives less often than this is called broken, and a gap of a slice
with a smaller adjusted p is called clear."""

_RANK = {"bad": 0, "unclear": 1, "good": 2}


def headline(report: EvaluationReport) -> str:
    """The findings on discrimination and on the promise, in one short sentence."""
    ranking, promise = _ranking(report), _promise(report)
    tones = {ranking.tone, promise.tone}
    return f"{ranking.short}, {'but' if tones == {'good', 'bad'} else 'and'} {promise.short}."


def findings(report: EvaluationReport) -> tuple[Finding, ...]:
    """What a reader should know, in order: ranking, baseline, promise, deferral.

    A defer threshold follows where there is one, and a slice where it is clearly worse.
    """
    found = [_ranking(report)]
    if report.comparison:
        found.append(_rival(report))
    found += [_promise(report), _deferral(report)]
    if report.defer is not None:
        found.append(_threshold(report.defer))
    gap = widest_gap(report)
    return (*found, gap) if gap.tone == "bad" else tuple(found)


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


def _threshold(defer: DeferRecord) -> Finding:
    sure = f"{percent(1 - defer.delta)} confidence"
    if defer.threshold is None:
        needs = f" About {defer.needed:,} groups would do." if defer.needed is not None else ""
        return Finding(
            "unclear",
            "no defer threshold could be certified",
            f"No confidence could be certified at {sure} from which on answers are wrong in at "
            f"most {percent(defer.max_error)}.{needs}",
        )
    if defer.group_error is None:
        return Finding(
            "unclear",
            "its defer threshold cannot be judged",
            f"No test image reaches the certified confidence, {defer.threshold:.4g}.",
        )
    text = (
        f"From a confidence of {defer.threshold:.4g} on, which {percent(defer.accepted)} of the "
        f"images reach, {percent(defer.group_error)} of the answers are wrong (mean over "
        f"{defer.groups} groups); promised at {sure}: at most {percent(defer.max_error)}"
    )
    kept = defer.group_error <= defer.max_error
    if defer.max_missed is not None:
        text += (
            f". Of the accepted images of roadwork {percent(defer.group_missed)} are missed; "
            f"promised: at most {percent(defer.max_missed)}"
        )
        kept = kept and (defer.group_missed or 0.0) <= defer.max_missed
    if kept:
        return Finding("good", "its defer threshold keeps its promise", f"{text}.")
    return Finding(
        "unclear",
        "its defer threshold exceeds its bound on the test set",
        f"{text}. The promise is about new groups on average, and the test groups are few of them.",
    )


def widest_gap(report: EvaluationReport) -> Finding:
    """The slice with the widest gap to all other images, and whether chance explains it."""
    tests = [test for test in report.slice_tests if test.worse is not None]
    if not tests:
        return Finding(
            "unclear",
            "no slice can be set against the rest",
            "No part of the test set is large enough to be set against the rest of it.",
        )
    clear = [test for test in tests if (test.worse or 0) > 0 and _surely(test)]
    worst = clear[0] if clear else tests[0]
    title = short_title(worst.metric)
    bounds = span(worst.low, worst.high)
    gap = (
        f"{worst.column.replace('_', ' ')} '{slice_name(worst.name)}', {worst.n:,} images of "
        f"{worst.n_groups:,} groups: {title} {number(worst.value)} against "
        f"{number(worst.other)} elsewhere (difference {number(worst.difference, signed=True)}"
        f"{f', {bounds}' if bounds else ''}; p {number(worst.p_holm)} after Holm's adjustment for "
        f"{len(report.slice_tests)} parts)"
    )
    if clear:
        more = f" {len(clear)} parts are clearly worse." if len(clear) > 1 else ""
        return Finding("bad", "a slice is clearly worse", f"Clearly worse on {gap}.{more}")
    few = (
        f" With fewer than {FEW_GROUPS} groups the interval and p are too narrow to rely on."
        if worst.n_groups < FEW_GROUPS
        else ""
    )
    least = len(report.slice_tests) * 2 / (1 + report.provenance.bootstrap)
    if least >= _BEYOND_CHANCE:
        few += (
            f" From {report.provenance.bootstrap:,} resamples no part can reach an adjusted p "
            f"below {min(1.0, least):.2g}: ask for more of them, or for fewer slices."
        )
    return Finding(
        "unclear",
        "no slice is clearly worse",
        f"No part is clearly worse than the rest. The widest gap is that of {gap}.{few}",
    )


def _surely(test: SliceTest) -> bool:
    enough = test.n_groups >= FEW_GROUPS
    return enough and test.p_holm is not None and test.p_holm < _BEYOND_CHANCE
