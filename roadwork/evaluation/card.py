"""The model card: the report as Markdown with YAML front matter, as model hubs read it.

The front matter follows the keys of the Hugging Face hub (license, library_name, tags, metrics);
the sections follow Mitchell et al., "Model Cards for Model Reporting", FAT* 2019
(arXiv 1810.03993).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from roadwork.evaluation.metrics import METRICS, Metric
from roadwork.evaluation.record import EvaluationReport
from roadwork.evaluation.verdict import (
    DASH,
    SYNTHETIC,
    findings,
    headline,
    in_order,
    number,
    percent,
    slice_name,
    span,
    widest_gap,
)

__all__ = ["model_card"]

_SPECIAL = str.maketrans({c: f"\\{c}" for c in "\\`*_[]<>|#~$"})


def model_card(
    report: EvaluationReport,
    *,
    title: str,
    licence_notes: Sequence[str],
    licence: str = "apache-2.0",
) -> str:
    """Write the card; equal arguments give equal text.

    Args:
        report: the evaluation that the figures come from.
        title: heading of the card, one line.
        licence_notes: one sentence each on the licences of code, weights and data.
        licence: identifier for the front matter.
    """
    return "\n".join(
        [
            *_front_matter(report, licence),
            f"# {_plain(title)}",
            "",
            f"**{_plain(headline(report))}**",
            "",
            *([f"> **Generated scenes.** {SYNTHETIC}", ""] if report.synthetic else []),
            *_bullets(found.text for found in findings(report)),
            "## Intended use",
            "",
            "The model says whether a street photograph shows roadwork, how probable that is, and "
            "which labels it cannot rule out. An answer is deferred unless the label decided on is "
            "the only one that it cannot rule out. Use it to sort photographs for people who look "
            "at the deferred ones. It is not made for driving decisions, for surveillance, or for "
            "any use in which a single wrong answer does harm.",
            "",
            *_figures(report),
            *_guarantee(report),
            *_threshold(report),
            *_limits(report),
            *_model(report),
            *_data(report),
            "## Licences",
            "",
            *_bullets(licence_notes),
        ]
    )


def _front_matter(report: EvaluationReport, licence: str) -> list[str]:
    tags = ["image-classification", "roadwork", "conformal-prediction", "calibration"]
    tags += ["synthetic-data"] if report.synthetic else []
    # JSON strings are YAML strings, whatever characters they hold.
    return [
        "---",
        f"license: {json.dumps(licence)}",
        'library_name: "roadwork"',
        'pipeline_tag: "image-classification"',
        "tags:",
        *(f"  - {json.dumps(tag)}" for tag in tags),
        "metrics:",
        *(f"  - {json.dumps(name)}" for name in sorted(report.rows[0].metrics)),
        "---",
        "",
    ]


def _figures(report: EvaluationReport) -> Iterable[str]:
    test = report.test
    yield "## Figures"
    yield ""
    yield (
        f"{test.n} test images ({test.n_positive} with roadwork) from {test.n_groups} groups that "
        "nothing was fitted on. In brackets: 95 % intervals from "
        f"{report.provenance.bootstrap} resamples of whole groups."
    )
    yield ""
    named = {name for row in report.rows for name in row.metrics}
    yield _line("Metric", *(row.title for row in report.rows))
    yield _rule(len(report.rows))
    for name in (name for name in METRICS if name in named):
        yield _line(METRICS[name].title, *(_written(row.metrics.get(name)) for row in report.rows))
    yield ""
    yield from _bullets(f"{row.title}: {row.description}" for row in report.rows)


def _written(metric: Metric | None) -> str:
    if metric is None:
        return DASH
    if metric.value is None:
        return f"{DASH} ({metric.reason or 'undefined'})"
    bounds = span(metric.low, metric.high)
    return f"{number(metric.value)} ({bounds})" if bounds else number(metric.value)


def _guarantee(report: EvaluationReport) -> Iterable[str]:
    sets = report.conformal
    yield "## Guarantee of the prediction sets"
    yield ""
    yield _plain(sets.guarantee)
    yield ""
    yield _line("Images", "Covered", "Share", "Exact 95 % interval")
    yield _rule(3)
    for name, found in (*((k, sets.classes[k]) for k in report.classes), ("all", sets.marginal)):
        bounds = span(found.low, found.high, shares=True) or DASH
        yield _line(name, f"{found.covered} of {found.n}", percent(found.value), bounds)
    yield ""
    yield _plain(sets.note)
    yield ""


def _threshold(report: EvaluationReport) -> Iterable[str]:
    defer = report.defer
    if defer is None:
        return
    yield "## Defer threshold"
    yield ""
    yield _plain(defer.guarantee)
    yield ""
    if defer.threshold is not None:
        yield _plain(
            f"On the test set it accepts {percent(defer.accepted)} of the images; "
            f"{percent(defer.group_error)} of these answers are wrong and "
            f"{percent(defer.group_missed)} of the accepted images of roadwork are missed (means "
            f"over {defer.groups} and {defer.roadwork_groups} groups). It is not in the bundle."
        )
        yield ""


def _limits(report: EvaluationReport) -> Iterable[str]:
    yield "## Limits"
    yield ""
    limits = [
        "The guarantee speaks of images exchangeable with those the thresholds were fitted on. "
        "Other cameras, countries or seasons can break it without a sign.",
    ]
    if report.synthetic:
        limits.insert(0, SYNTHETIC)
    for column in report.slices:
        worst = column.worst("auroc")
        if worst is not None:
            limits.append(
                f"By {column.column.replace('_', ' ')} the lowest AUROC is that of "
                f"'{slice_name(worst.name)}': {number(worst.value)}, against "
                f"{number(worst.overall)} overall."
            )
        small = [
            slice_name(part.name) for part in column.slices if part.metrics["auroc"].value is None
        ]
        if small:
            limits.append(
                f"By {column.column.replace('_', ' ')} there are too few images for a figure of: "
                f"{', '.join(small)}."
            )
    limits += [widest_gap(report).text] if report.slice_tests else []
    yield from _bullets(limits)


def _model(report: EvaluationReport) -> Iterable[str]:
    model, made, chosen = report.model, report.provenance, report.calibrators
    why = f", chosen because: {chosen.why}" if chosen and chosen.asked == "auto" else ""
    yield "## Model"
    yield ""
    yield from _bullets(
        [
            model.description,
            f"Backbone: {model.backbone}; starting weights: {model.weights}.",
            f"Adapter: {model.adapter}. Input: {model.input}.",
            f"Calibrator: {model.calibrator}{why}.",
            f"Code: roadwork {made.code_version}; seed {made.seed}; settings {made.settings_hash}.",
        ]
    )


def _data(report: EvaluationReport) -> Iterable[str]:
    yield "## Data"
    yield ""
    yield _line("Role or source", "Images", "With roadwork", "Groups")
    yield _rule(3)
    for name, count in (*in_order(report.data.roles), *in_order(report.data.sources)):
        yield _line(name, str(count.n), str(count.n_positive), str(count.n_groups))
    yield ""
    left_out = [f"{reason}: {n}" for reason, n in sorted(report.data.quarantine.items())]
    left_out.append(f"exact copies: {report.data.exact_copies}")
    yield from _bullets([f"Left out: {', '.join(left_out)}."])
    yield "## Exposure"
    yield ""
    yield (
        "The bundle knows every image and group that has touched it, and refuses to be judged on "
        "them."
    )
    yield ""
    yield _line("Use", "Images", "Group names")
    yield _rule(2)
    for use, found in in_order(report.exposure):
        yield _line(use, str(found.get("samples", 0)), str(found.get("groups", 0)))
    yield ""


def _plain(text: str) -> str:
    """Text on one line in which nothing is Markdown or HTML."""
    return " ".join(text.split()).translate(_SPECIAL)


def _bullets(texts: Iterable[str]) -> list[str]:
    return [*(f"- {_plain(text)}" for text in texts), ""]


def _line(*cells: str) -> str:
    return f"| {' | '.join(_plain(cell) for cell in cells)} |"


def _rule(numbers: int) -> str:
    return f"|---{'|---:' * numbers}|"
