"""How figures are written for people: numbers, shares, intervals and names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

from roadwork.evaluation.metrics import METRICS
from roadwork.evaluation.slices import NULL

__all__ = [
    "DASH",
    "Finding",
    "in_order",
    "number",
    "percent",
    "short_title",
    "slice_name",
    "span",
]

DASH = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"

_ORDER = {
    name: place
    for place, name in enumerate(
        ("pretrain", "train", "select", "calibrate", "conformal", "conformalise", "test")
    )
}
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
