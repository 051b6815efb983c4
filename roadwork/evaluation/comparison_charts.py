"""Charts of a comparison: learning curves laid over each other, intervals one below the other.

A chart is a :class:`Panel`, the inside of an ``<svg>``, so that it can stand on a page or beside
others in one picture. Runs differ by colour and by dash or mark.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from roadwork.evaluation.markup import Markup, element, join
from roadwork.evaluation.verdict import number
from roadwork.training.curves import Point

__all__ = [
    "STYLE",
    "STYLES",
    "WIDTH",
    "Panel",
    "interval_rows",
    "learning_curves",
    "legend",
    "nice",
]

WIDTH = 420.0
STYLES = 6
"""Runs that can be told apart; a seventh looks like the first."""

_BUCKETS = 120  # points of a drawn curve; there are not more pixels to tell them apart
_DASHES = ("none", "7 4", "2 4", "9 3 2 3", "12 5", "4 2")
_COLOURS = ("--model", "--positive", "--good", "--bad", "--unclear", "--soft")

STYLE = Markup(
    "".join(
        f".run{index} {{ --run: var({colour}); --dash: {dash}; }}\n"
        for index, (colour, dash) in enumerate(zip(_COLOURS, _DASHES, strict=True))
    )
    + ".run { fill: none; stroke: var(--run); stroke-width: 2; stroke-dasharray: var(--dash); "
    "stroke-linejoin: round; }\n"
    ".spread { fill: var(--run); opacity: .14; }\n"
    ".bar { stroke: var(--run); stroke-width: 2; }\n"
    ".knob { fill: var(--run); stroke: var(--card); stroke-width: 1.5; }\n"
)
"""Colours and dashes of runs, from the variables of the pages' style sheet."""


@dataclass(frozen=True)
class Panel:
    """The inside of a drawing of :data:`WIDTH` by ``height``, and what it shows, in words."""

    inside: Markup
    height: float
    label: str

    def svg(self) -> Markup:
        """The drawing on its own, as wide as the page lets it."""
        return element(
            "svg",
            self.inside,
            viewBox=f"0 0 {WIDTH:.0f} {self.height:.0f}",
            role="img",
            aria_label=self.label,
            class_="chart",
        )


def nice(low: float, high: float, most: int = 5) -> list[float]:
    """Round steps from at most ``low`` to at least ``high``, ``most`` intervals at the most.

    The step has the form 1, 2 or 5 times 10^k. Equal bounds are widened.
    """
    if not high > low:
        wide = abs(low) * 0.05 or 1.0
        low, high = low - wide, high + wide
    scale = 10.0 ** math.floor(math.log10((high - low) / most))
    for factor in (1, 2, 5, 10, 20):
        step = scale * factor
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        if last - first <= most:
            break
    return [round(step * index, 12) for index in range(first, last + 1)]


@dataclass(frozen=True)
class _Axes:
    """A rectangle of the drawing and the ticks whose outermost ones are its edges."""

    left: float
    top: float
    width: float
    height: float
    xs: Sequence[float]
    ys: Sequence[float] = (0.0, 1.0)

    def x(self, value: float) -> float:
        return self.left + (value - self.xs[0]) / (self.xs[-1] - self.xs[0]) * self.width

    def y(self, value: float) -> float:
        share = (value - self.ys[0]) / (self.ys[-1] - self.ys[0])
        return self.top + (1 - share) * self.height

    def points(self, pairs: Sequence[tuple[float, float]]) -> str:
        return " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in pairs)

    def base(self, name: str) -> Markup:
        """The horizontal axis with its ticks."""
        below, right = self.top + self.height, self.left + self.width
        parts = [element("line", x1=self.left, y1=below, x2=right, y2=below, class_="axis")]
        for tick in self.xs:
            x = self.x(tick)
            parts.append(element("line", x1=x, y1=below, x2=x, y2=below + 4, class_="axis"))
            parts.append(_text(x, below + 18, _short(tick), "middle"))
        # The width of the drawing, not of the axis: a long name needs all of it.
        parts.append(_text(WIDTH / 2, below + 37, name, "middle", "name"))
        return join(*parts)


def learning_curves(
    name: str, curves: Sequence[tuple[int, Sequence[Point]]], titles: Sequence[str]
) -> Panel:
    """One logged value of several runs over the optimizer's steps.

    A curve of more than 120 points is drawn as the mean of each of 120 stretches of it, in a band
    from the lowest to the highest value there.

    Args:
        name: of the logged value.
        curves: number of the run and its points, of the runs that have any.
        titles: of all runs.
    """
    drawn = [(run, _buckets(points)) for run, points in curves]
    values = [value for _, found in drawn for bucket in found for value in bucket[1:]]
    if not values:
        return Panel(_text(50, 40, "No finite value was logged.", "start"), 60, name)
    last = max(bucket[0] for _, found in drawn for bucket in found)
    axes = _Axes(58, 34, 346, 216, nice(0, max(last, 1)), nice(min(values), max(values)))
    parts: list[Markup] = []
    for tick in axes.ys:
        y = axes.y(tick)
        right = axes.left + axes.width
        parts.append(element("line", x1=axes.left, y1=y, x2=right, y2=y, class_="grid"))
        parts.append(_text(axes.left - 8, y + 4, _short(tick), "end"))
    parts += [axes.base("Step"), _text(4, axes.top - 14, name, "start", "name")]
    for run, found in drawn:
        kind = f"run{run % STYLES}"
        if any(high > low for _, low, _, high in found):
            band = [(step, high) for step, _, _, high in found]
            band += [(step, low) for step, low, _, _ in reversed(found)]
            parts.append(element("polygon", points=axes.points(band), class_=f"spread {kind}"))
        path = axes.points([(step, mean) for step, _, mean, _ in found])
        tip = element("title", titles[run])
        parts.append(element("polyline", tip, points=path, class_=f"run {kind}"))
        if len(found) <= 20:
            parts += [
                _mark(
                    run, axes.x(step), axes.y(mean), f"{titles[run]}: {mean:.4g} at step {step:g}"
                )
                for step, _, mean, _ in found
            ]
    words = ", ".join(titles[run] for run, _ in curves)
    return Panel(join(*parts), 300, f"{name} over the steps of {words}")


def interval_rows(
    title: str,
    rows: Sequence[tuple[int, float, float | None, float | None]],
    titles: Sequence[str],
    *,
    zero: bool = False,
) -> Panel:
    """A value with its 95 % interval for each run, one below the other.

    Args:
        title: of the horizontal axis.
        rows: number of the run, value and bounds of its interval, if it has one.
        titles: of all runs.
        zero: whether zero is drawn, as for differences.
    """
    bounds = [bound for _, *found in rows for bound in found if bound is not None]
    if zero:
        bounds.append(0.0)
    step = 26.0
    axes = _Axes(118, 10, 286, step * len(rows), nice(min(bounds), max(bounds)))
    parts = [axes.base(title)]
    for tick in axes.xs:
        x = axes.x(tick)
        below = axes.top + axes.height
        parts.append(element("line", x1=x, y1=axes.top, x2=x, y2=below, class_="grid"))
    if zero:
        x = axes.x(0.0)
        below = axes.top + axes.height
        parts.append(element("line", x1=x, y1=axes.top - 4, x2=x, y2=below, class_="ideal"))
    for place, (run, value, low, high) in enumerate(rows):
        y = axes.top + step * (place + 0.5)
        parts.append(_text(axes.left - 12, y + 4, _cut(titles[run]), "end", "name"))
        words = f"{titles[run]}: {number(value, signed=zero)}"
        if low is not None and high is not None:
            words += f" ({number(low, signed=zero)} to {number(high, signed=zero)})"
            parts.append(
                element(
                    "line",
                    x1=axes.x(low),
                    y1=y,
                    x2=axes.x(high),
                    y2=y,
                    class_=f"bar run{run % STYLES}",
                )
            )
        parts.append(_mark(run, axes.x(value), y, words))
    return Panel(join(*parts), axes.top + axes.height + 46, title)


def legend(titles: Sequence[str]) -> Panel:
    """Line and mark of every run."""
    parts: list[Markup] = []
    for run, title in enumerate(titles):
        y = 16.0 + 22 * run
        kind = f"run run{run % STYLES}"
        parts.append(element("line", x1=8, y1=y, x2=52, y2=y, class_=kind))
        parts.append(_mark(run, 30, y, title))
        parts.append(_text(64, y + 4, title, "start", "name"))
    return Panel(join(*parts), 16.0 + 22 * len(titles), "Which line and mark is which run")


def _buckets(points: Sequence[Point]) -> list[tuple[float, float, float, float]]:
    """Mean step, and lowest, mean and highest finite value, of stretches of a curve."""
    finite = [point for point in points if math.isfinite(point.value)]
    size = max(1, -(-len(finite) // _BUCKETS))
    found = []
    for start in range(0, len(finite), size):
        part = finite[start : start + size]
        values = [point.value for point in part]
        step = sum(point.step for point in part) / len(part)
        found.append((step, min(values), sum(values) / len(values), max(values)))
    return found


def _mark(run: int, x: float, y: float, words: str) -> Markup:
    """A circle, diamond, square or triangle; the words appear under the pointer."""
    tip, kind = element("title", words), f"knob run{run % STYLES}"
    if run % 4 == 0:
        return element("circle", tip, cx=x, cy=y, r=4.5, class_=kind)
    paths = ("l5.5 5.5l-5.5 5.5l-5.5 -5.5z", "h4.5v9h-9v-9z", "l5.5 9.5h-11z")
    top = y - (5.5, 4.5, 6.0)[run % 4 - 1]
    return element("path", tip, d=f"M{x:.1f} {top:.1f}{paths[run % 4 - 1]}", class_=kind)


def _text(x: float, y: float, words: str, anchor: str, kind: str = "tick") -> Markup:
    return element("text", words, x=x, y=y, text_anchor=anchor, class_=kind)


def _cut(title: str, most: int = 14) -> str:
    return title if len(title) <= most else f"{title[: most - 1]}…"


def _short(value: float) -> str:
    """A tick in few characters."""
    text = f"{value:.4g}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.2g}"
    return text.replace("-", "\N{MINUS SIGN}")
