"""Comparison of runs: what they were given, what came out, which differences are more than luck.

Figures of two runs can be set side by side only when they were computed on the same images. Even
then the two intervals say little about the difference, because the runs err on the same hard
images; so every run is compared with the first one on the images that both were tested on, with
whole groups resampled (:mod:`roadwork.pairing`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from roadwork.data.exposure import Exposure
from roadwork.errors import ConfigError
from roadwork.evaluation.bootstrap import RESAMPLES, PairedDifference
from roadwork.evaluation.metrics import METRICS, Metric, metric_infos
from roadwork.evaluation.record import EvaluationReport
from roadwork.pairing import TestScores, UnpairableError
from roadwork.pairing import compare as compare_scores
from roadwork.training.curves import Curves

__all__ = [
    "COMPARED",
    "ComparedRun",
    "Comparison",
    "Difference",
    "Row",
    "compare_runs",
    "shown",
]

COMPARED: tuple[str, ...] = ("auroc", "auprc", "mcc", "accuracy", "brier", "nll")
"""Metrics that are compared when none is named."""


@dataclass(frozen=True)
class ComparedRun:
    """One run, as far as it is known.

    Attributes:
        title: short name for columns and keys.
        about: which run it is, in words.
        settings: resolved settings by dotted key.
        facts: data, code and environment by dotted name.
        report: its evaluation; None when there is none.
        scores: its answers on its test set; None when they were not kept.
        exposure: what its model has seen; None when that is unknown.
        curves: learning curves; empty when they were not kept.
    """

    title: str
    about: str
    settings: Mapping[str, str]
    facts: Mapping[str, str]
    report: EvaluationReport | None = None
    scores: TestScores | None = None
    exposure: Exposure | None = None
    curves: Curves = field(default_factory=Curves)


@dataclass(frozen=True)
class Row:
    """One key and its value in every run; None where a run lacks it."""

    key: str
    values: tuple[str | None, ...]


@dataclass(frozen=True)
class Difference:
    """A run less the first run, in one metric.

    ``paired`` is None where the two cannot be compared image by image, and ``reason`` says why;
    ``images`` counts the test images that both have.
    """

    run: str
    metric: str
    paired: PairedDifference | None
    reason: str | None
    images: int

    @property
    def verdict(self) -> str:
        """What the interval says, in words; the reason where there is none."""
        if self.reason is not None:
            return self.reason
        if not self.excludes_zero:
            return "zero is within the interval"
        return {True: "better", False: "worse", None: "excludes zero"}[self.better]

    @property
    def excludes_zero(self) -> bool:
        """Whether the 95 % interval lies on one side of zero."""
        found = self.paired
        if found is None or found.low is None or found.high is None:
            return False
        return found.low > 0 or found.high < 0

    @property
    def better(self) -> bool | None:
        """Whether the run is better than the first; None while the interval holds zero."""
        higher = METRICS[self.metric].higher_is_better
        if not self.excludes_zero or self.paired is None or self.paired.low is None:
            return None
        return None if higher is None else (self.paired.low > 0) == higher


@dataclass(frozen=True)
class Comparison:
    """What distinguishes runs.

    Attributes:
        runs: titles; the first is the one that the others are compared with.
        about: which runs these are, in words.
        settings: keys whose values differ.
        facts: data, code and environment that differ.
        same_test: whether all were judged on the same images; None when that is unknown of one.
        metrics: by name, the metric of every run; None where a run lacks it.
        differences: of every further run, in every metric.
        notes: what a reader must know before believing a figure.
    """

    runs: tuple[str, ...]
    about: tuple[str, ...]
    settings: tuple[Row, ...]
    facts: tuple[Row, ...]
    same_test: bool | None
    metrics: Mapping[str, tuple[Metric | None, ...]]
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "runs": dict(zip(self.runs, self.about, strict=True)),
            "settings": _rows(self.runs, self.settings),
            "facts": _rows(self.runs, self.facts),
            "same_test": self.same_test,
            "metrics": {
                name: {
                    run: None if metric is None else metric.model_dump()
                    for run, metric in zip(self.runs, found, strict=True)
                }
                for name, found in self.metrics.items()
            },
            "differences": [
                {
                    "run": one.run,
                    "to": self.runs[0],
                    "metric": one.metric,
                    "images": one.images,
                    "excludes_zero": one.excludes_zero,
                    "better": one.better,
                    "reason": one.reason,
                    "paired": None if one.paired is None else one.paired.model_dump(),
                }
                for one in self.differences
            ],
            "notes": list(self.notes),
        }


def compare_runs(
    runs: Sequence[ComparedRun],
    metrics: Iterable[str] | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Compare every run with the first.

    Args:
        runs: two or more, with titles of their own.
        metrics: names of ``METRICS``; those that need prediction sets get no paired difference.
            By default :data:`COMPARED`.
        resamples: of whole groups, for the paired differences.
        seed: of the resampling.

    Raises:
        ConfigError: fewer than two runs, a run twice, or an unknown metric.
    """
    titles = tuple(run.title for run in runs)
    if len(runs) < 2:
        raise ConfigError("a comparison needs at least two runs")
    if len(set(titles)) < len(titles):
        twice = next(title for title in titles if titles.count(title) > 1)
        raise ConfigError(f"the run {twice} is named twice: a comparison needs different runs")
    infos = metric_infos(COMPARED if metrics is None else metrics)
    names = list(dict.fromkeys(info.name for info in infos))
    first, *others = runs
    differences = tuple(
        _difference(run, first, name, resamples, seed) for run in others for name in names
    )
    same = _same_test(runs)
    return Comparison(
        runs=titles,
        about=tuple(run.about for run in runs),
        settings=_differing([run.settings for run in runs]),
        facts=_differing([run.facts for run in runs]),
        same_test=same,
        metrics={
            name: tuple(None if run.report is None else run.report.metric(name) for run in runs)
            for name in names
        },
        differences=differences,
        notes=tuple(_notes(runs, same, differences)),
    )


def shown(value: str | None) -> str | None:
    """A value for people: a long hash by its first twelve digits."""
    if value is not None and re.fullmatch(r"[0-9a-f]{40,}", value):
        return value[:12]
    return value


def _rows(runs: Sequence[str], rows: Sequence[Row]) -> dict[str, dict[str, str | None]]:
    return {row.key: dict(zip(runs, row.values, strict=True)) for row in rows}


def _differing(trees: Sequence[Mapping[str, str]]) -> tuple[Row, ...]:
    keys = sorted({key for tree in trees for key in tree})
    rows = (Row(key, tuple(tree.get(key) for tree in trees)) for key in keys)
    return tuple(row for row in rows if len(set(row.values)) > 1)


def _same_test(runs: Sequence[ComparedRun]) -> bool | None:
    hashes = [run.report.provenance.test_hash for run in runs if run.report is not None]
    if len(set(hashes)) > 1:
        return False
    return True if len(hashes) == len(runs) else None


def _difference(
    run: ComparedRun, first: ComparedRun, name: str, resamples: int, seed: int
) -> Difference:
    images, reason = 0, ""
    if "sets" in METRICS[name].needs:
        reason = f"{name} is a metric of prediction sets, and scores alone do not have these"
    for one in (run, first):
        if not reason and one.scores is None:
            reason = f"{one.title} has no test scores"
        if not reason and one.exposure is None:
            reason = f"it is not known what the model of {one.title} has seen"
    if run.scores is not None and first.scores is not None:
        images = len(np.intersect1d(run.scores.sample_ids, first.scores.sample_ids))
    paired: PairedDifference | None = None
    if not reason:
        assert run.scores is not None and first.scores is not None
        assert run.exposure is not None and first.exposure is not None
        try:
            paired = compare_scores(
                run.scores,
                first.scores,
                (run.exposure, first.exposure),
                metric=name,
                resamples=resamples,
                seed=seed,
                names=(f"model of {run.title}", f"model of {first.title}"),
            )
            reason = paired.reason or ""
        except UnpairableError as error:
            reason = str(error)
    return Difference(run.title, name, paired, reason or None, images)


def _notes(
    runs: Sequence[ComparedRun], same: bool | None, differences: Sequence[Difference]
) -> Iterable[str]:
    if same is False:
        yield (
            "The test sets differ: metrics of different runs are not comparable. Paired "
            "differences are, where there are any: they use the images that both were tested on."
        )
    missing = [run.title for run in runs if run.report is None]
    if missing:
        unknown = ": whether the test sets are the same is not known" if same is None else ""
        yield f"No evaluation was kept for {', '.join(missing)}{unknown}."
    made = [run.title for run in runs if run.report is not None and run.report.synthetic]
    if made:
        yield f"Generated scenes ({', '.join(made)}): these figures say nothing about real roads."
    judged = sum(one.paired is not None for one in differences)
    if judged > 1:
        yield (
            f"{judged} differences are shown, and nothing is adjusted for their number: of twenty "
            "intervals about no difference at all, about one leaves out zero."
        )
    if judged:
        yield (
            "Intervals speak of the test images alone. Another seed of training may move a metric "
            "as much: compare several seeds before choosing."
        )
