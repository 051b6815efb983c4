"""The chosen variant, in words and as settings to be pasted into a run's configuration."""

from __future__ import annotations

from typing import Any

from roadwork.ablation.record import AblationReport, VariantRow
from roadwork.evaluation.verdict import number, span

__all__ = ["judged_on", "settings_snippet", "standing"]


def judged_on(report: AblationReport) -> str:
    """The data that judged, in words."""
    if report.folds is None:
        return "VAL_SELECT"
    return f"{report.folds} folds of TRAIN and VAL_SELECT"


def standing(report: AblationReport, row: VariantRow) -> str:
    """How a variant stands to the baseline, as a clause without its subject."""
    if row == report.variants[report.baseline]:
        return "is the baseline itself"
    found = row.differences.get(report.metric)
    if found is None or found.value is None:
        return "could not be compared with the baseline"
    if found.says == "same answers":
        return "gives the same answers as the baseline"
    size = f"{number(found.value, signed=True)} ({span(found.low, found.high)})"
    why = f"; {found.reason}" if found.reason else ""
    if found.says == "cannot tell":
        return f"cannot be told from the baseline: {size}{why}"
    return f"is {found.says} than the baseline: {size}"


def settings_snippet(report: AblationReport) -> str:
    """The winner's settings as YAML, with what is known of it as comments.

    Empty where every variant failed.
    """
    import yaml

    if report.winner is None:
        return ""
    row = report.variants[report.winner]
    tree: dict[str, Any] = {}
    for key, value in row.overrides.items():
        *path, last = key.split(".")
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        node[last] = value
    mean = row.metrics[report.metric].mean
    lines = [
        f"# {row.name}",
        f"# Winner by {judged_on(report)} among {len(report.variants)} variants "
        f"({report.metric.upper()} {number(mean)}); never judged on test.",
        f"# It {standing(report, row)}.",
    ]
    if report.synthetic:
        lines.append("# Generated scenes: no evidence about real roads.")
    body = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True) if tree else ""
    return "\n".join(lines) + "\n" + body
