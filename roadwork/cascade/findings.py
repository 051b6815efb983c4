"""The cascade's report in plain words: one headline, and findings that follow from fixed rules."""

from __future__ import annotations

from roadwork.cascade.record import CascadeReport
from roadwork.evaluation.metrics import Metric
from roadwork.evaluation.verdict import FEW_GROUPS, Finding, number, percent, span

__all__ = ["COLUMNS", "findings", "headline", "signed_span"]

COLUMNS = {
    "accuracy": "Accuracy",
    "mcc": "Matthews correlation",
    "recall": "Recall",
    "precision": "Precision",
    "auroc": "AUROC",
    "recall_at_90_precision": "Recall at 90 % precision",
}
"""Metrics of a row by name, with titles for a narrow column."""


def headline(report: CascadeReport) -> str:
    """What came out, in one sentence."""
    verdicts = {check.verdict for check in report.promise}
    saved = "No exit could be certified: no image exits at stage 1"
    if report.exits.feasible:
        saved = f"Stage 1 answers {percent(report.exited.value)} of the test images"
    if "broken" in verdicts:
        return f"{saved}, but the promise did not hold on the test images."
    if "unclear" in verdicts:
        return f"{saved}; whether the promise holds is within the range of chance."
    if verdicts == {"kept"}:
        return f"{saved}, and the promise held on the test images."
    if "kept" in verdicts:
        return f"{saved}; what could be judged of the promise held on the test images."
    return f"{saved}."


def findings(report: CascadeReport) -> tuple[Finding, ...]:
    """What a reader should know, from fixed rules."""
    return tuple(
        found for found in (_saving(report), _worth(report), _knows(report), _few(report)) if found
    )


def _saving(report: CascadeReport) -> Finding:
    whole = report.stage_views[1]
    if not report.exits.feasible:
        return Finding("unclear", "no exits", report.guarantee)
    views = report.row("cascade").views
    saves = views.high is not None and views.high < whole
    return Finding(
        "good" if saves else "unclear",
        "it saves views" if saves else "views",
        f"It looks at {number(views.value, 2)} views of an image on average instead of {whole}: "
        f"{percent(report.exited.value)} of the images "
        f"({span(report.exited.low, report.exited.high, shares=True)}) are answered from the "
        "global view alone.",
    )


def _worth(report: CascadeReport) -> Finding | None:
    if not report.exits.feasible:
        return None
    less = report.row("cascade").less_second
    parts = [
        f"{COLUMNS[name].lower()} {number(less[name].value, signed=True)}"
        f"{f' ({signed_span(less[name])})' if less[name].low is not None else ''}"
        for name in ("accuracy", "recall")
    ]
    accuracy, bound = less["accuracy"], report.exits.promise.max_accuracy_loss
    tone = "unclear"
    if accuracy.low is not None and accuracy.high is not None:
        tone = "good" if accuracy.low >= -bound else "bad" if accuracy.high < -bound else "unclear"
    return Finding(tone, "its worth", f"Cascade less stage 2 alone: {'; '.join(parts)}.")


def _knows(report: CascadeReport) -> Finding | None:
    found = report.confidence["deferral_performance"]
    if found.value is None:
        return Finding(
            "unclear",
            "deferral",
            f"How well stage 1 knows what to pass on cannot be judged: {found.reason}.",
        )
    tone = "good" if (found.low or 0.0) > 0 else "unclear"
    return Finding(
        tone,
        "deferral",
        "Passing on the least confident images first: deferral performance "
        f"{number(found.value, 2)}{_within(found)}, where 0 is chance and 1 the ideal.",
    )


def _few(report: CascadeReport) -> Finding | None:
    if report.test.n_groups >= FEW_GROUPS:
        return None
    return Finding(
        "unclear",
        "few groups",
        f"The test set has {report.test.n_groups} groups: with fewer than {FEW_GROUPS} the "
        "intervals are too narrow to rely on.",
    )


def signed_span(metric: Metric) -> str:
    """The interval of a difference, every bound with its sign; the empty text without one."""
    if metric.low is None or metric.high is None:
        return ""
    return f"{number(metric.low, signed=True)} to {number(metric.high, signed=True)}"


def _within(metric: Metric) -> str:
    bounds = span(metric.low, metric.high)
    return f" (95\N{NO-BREAK SPACE}% interval {bounds})" if bounds else ""
