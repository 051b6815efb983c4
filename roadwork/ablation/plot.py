"""The plot of an ablation: a dot, an interval and a tick for each seed, one row a variant."""

from __future__ import annotations

from collections.abc import Mapping

from roadwork.ablation.comparison import Difference
from roadwork.evaluation.drawing import ticks
from roadwork.evaluation.markup import Markup, element
from roadwork.evaluation.verdict import number

__all__ = ["difference_plot"]

_WIDTH = 880.0
_LEFT, _RIGHT, _TOP, _ROW = 20.0, 860.0, 58.0, 46.0


def difference_plot(rows: Mapping[str, Difference], title: str, higher_is_better: bool) -> Markup:
    """Differences to the baseline, which is the line at 0.

    Args:
        rows: one difference for every name, from top to bottom; those without a value are words
            alone.
        title: of the metric.
        higher_is_better: of the metric: says which side is the better one.
    """
    drawn = [found for found in rows.values() if found.value is not None]
    points = [
        abs(value)
        for found in drawn
        for value in (found.value, found.low, found.high, *found.by_seed)
        if value is not None
    ]
    steps = ticks(max([*points, 1e-3]) * 1.02, 3)
    reach = steps[-1]
    digits = max(2, len(f"{steps[1]:.10f}".rstrip("0").partition(".")[2]))

    def x(value: float) -> float:
        return _LEFT + (value + reach) / (2 * reach) * (_RIGHT - _LEFT)

    bottom = _TOP + _ROW * len(rows)
    parts: list[str] = []
    for tick in [*(-step for step in reversed(steps[1:])), *steps]:
        kind = "ideal" if tick == 0 else "grid"
        parts.append(_line(x(tick), _TOP - 8, x(tick), bottom, kind))
        words = "baseline" if tick == 0 else number(tick, digits, signed=True)
        parts.append(_text(x(tick), bottom + 18, words, "middle"))
    sides = ("worse", "better") if higher_is_better else ("better", "worse")
    parts.append(_text(_LEFT, 20, f"◀ {sides[0]}", "start"))
    parts.append(_text(_RIGHT, 20, f"{sides[1]} ▶", "end"))
    parts.append(_text(x(0), 20, f"{title}, difference to the baseline", "middle", "name"))
    for place, (name, found) in enumerate(rows.items()):
        above = _TOP + _ROW * place + 10
        parts.append(_text(_LEFT + 6, above, name, "start", "name"))
        parts.append(_text(_RIGHT - 6, above, _words(found), "end"))
        if found.value is None:
            continue
        y = above + 17
        for value in found.by_seed:
            if value is not None:
                parts.append(_line(x(value), y - 5, x(value), y + 5, "whisker"))
        if found.low is not None and found.high is not None:
            parts.append(_line(x(found.low), y, x(found.high), y, "whisker strong"))
        tip = element("title", f"{name}: {number(found.value, 4, signed=True)}")
        parts.append(element("circle", tip, cx=x(found.value), cy=y, r=5, class_="dot"))
    chart = element(
        "svg",
        *parts,
        viewBox=f"0 0 {_WIDTH:.0f} {bottom + 30:.0f}",
        role="img",
        aria_label=f"{title}: difference of every variant to the baseline, with intervals",
        class_="chart",
        style="max-width: none; min-width: 560px",
    )
    return element("div", chart, class_="scroll")


def _words(found: Difference) -> str:
    if found.value is None:
        return found.reason or "no value"
    return found.says or ""


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=kind)


def _text(x: float, y: float, words: str, anchor: str, kind: str = "tick") -> Markup:
    return element("text", words, x=x, y=y, text_anchor=anchor, class_=kind)
