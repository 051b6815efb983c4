"""Charts of the report as inline SVG: axes, labels and units, and colours from the page's CSS.

Every function returns one ``<svg>`` that scales with the page; sizes are in SVG units, close to
CSS pixels. Colour is never the only difference: classes also differ by place, lines by dash.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from roadwork.evaluation.curves import ReliabilityBin, RiskCoverageCurve
from roadwork.evaluation.markup import Markup, element, join
from roadwork.evaluation.record import Coverage

__all__ = [
    "cost_curve",
    "coverage_chart",
    "histogram",
    "interval_bar",
    "reliability",
    "risk_coverage",
    "ticks",
]

WIDTH = 420.0


def ticks(high: float, most: int = 5) -> list[float]:
    """Round steps 0, s, 2 s, ... up to at least ``high``, with s of the form 1, 2 or 5 times 10^k.

    There are at most ``most`` steps above 0; ``high`` must be positive.
    """
    scale = 1e-6
    while True:
        for factor in (1, 2, 5):
            step = scale * factor
            count = -int(-(high / step - 1e-9) // 1)
            if count <= most:
                return [round(step * index, 10) for index in range(max(count, 1) + 1)]
        scale *= 10


@dataclass(frozen=True)
class _Plot:
    """A rectangle of the drawing and the ranges of data that fill it."""

    left: float
    top: float
    width: float
    height: float
    x_high: float
    y_high: float
    x_low: float = 0.0
    y_low: float = 0.0

    def x(self, value: float) -> float:
        return self.left + (value - self.x_low) / (self.x_high - self.x_low) * self.width

    def y(self, value: float) -> float:
        share = (value - self.y_low) / (self.y_high - self.y_low)
        return self.top + (1 - share) * self.height

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
        return element(
            "line", x1=self.x(x1), y1=self.y(y1), x2=self.x(x2), y2=self.y(y2), class_=kind
        )

    def bar(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
        left, right = self.x(x1), self.x(x2)
        top, bottom = sorted((self.y(y1), self.y(y2)))
        return element(
            "rect",
            x=left + 0.75,
            y=top,
            width=max(right - left - 1.5, 0.5),
            height=bottom - top,
            class_=kind,
        )

    def frame(
        self,
        xs: Sequence[float],
        ys: Sequence[float],
        x_label: str,
        y_label: str,
        unit: str = "%",
        x_unit: str = "%",
    ) -> Markup:
        """Grid lines, tick labels and the names of the axes; a unit is "%" or nothing."""
        parts: list[str] = []
        for tick in ys:
            parts.append(self.line(self.x_low, tick, self.x_high, tick, "grid"))
            parts.append(_text(self.left - 8, self.y(tick) + 4, _tick(abs(tick), unit), "end"))
        base = self.top + self.height
        for tick in xs:
            x = self.x(tick)
            parts.append(element("line", x1=x, y1=base, x2=x, y2=base + 4, class_="axis"))
            parts.append(_text(x, base + 18, _tick(tick, x_unit), "middle"))
        right = self.left + self.width
        parts.append(element("line", x1=self.left, y1=base, x2=right, y2=base, class_="axis"))
        parts.append(_text(self.left + self.width / 2, base + 38, x_label, "middle", "name"))
        parts.append(_text(4, self.top - 12, y_label, "start", "name"))
        return join(*parts)


def reliability(bins: Sequence[ReliabilityBin], label: str) -> Markup:
    """Observed share of roadwork over P(roadwork), with exact intervals, above the counts."""
    plot = _Plot(50, 34, 346, 250, 1, 1)
    steps = [0.0, 0.25, 0.5, 0.75, 1.0]
    parts = [plot.frame([], steps, "", "Share that shows roadwork")]
    parts.append(plot.line(0, 0, 1, 1, "ideal"))
    filled = [found for found in bins if found.mean_score is not None]
    dots: list[str] = []
    path: list[str] = []
    for found in filled:
        if found.mean_score is None or found.observed is None:
            continue
        if found.observed_low is not None and found.observed_high is not None:
            x = found.mean_score
            parts.append(plot.line(x, found.observed_low, x, found.observed_high, "whisker"))
        x, y = plot.x(found.mean_score), plot.y(found.observed)
        path.append(f"{x:.1f},{y:.1f}")
        tip = f"{found.n} images, mean P {found.mean_score:.3f}, observed {found.observed:.3f}"
        dots.append(element("circle", element("title", tip), cx=x, cy=y, r=4, class_="dot"))
    parts.append(element("polyline", points=" ".join(path), class_="curve"))
    most = max([found.n for found in bins] + [1])
    scale = ticks(most, 2)
    counts = _Plot(50, 324, 346, 52, 1, scale[-1])
    parts.append(counts.frame(steps, scale, "P(roadwork)", "Images", ""))
    parts += [counts.bar(f.low, 0, f.high, f.n, "count") for f in bins if f.n]
    return _svg(420, label, *parts, *dots)


def risk_coverage(
    curve: RiskCoverageCurve, error: float, deferred: tuple[float, float] | None, label: str
) -> Markup:
    """Error rate of the answers when only the most confident share of images is answered.

    Args:
        curve: the points.
        error: error rate when every image is answered.
        deferred: share answered and error rate under the defer rule, if it answers any.
        label: the chart in words.
    """
    highest = max([*curve.selective_risk, error, deferred[1] if deferred else 0.0, 0.02])
    scale = ticks(min(highest * 1.05, 1.0))
    plot = _Plot(50, 34, 346, 270, 1, scale[-1])
    steps = [0.0, 0.25, 0.5, 0.75, 1.0]
    parts = [plot.frame(steps, scale, "Share of images answered", "Wrong answers")]
    parts.append(plot.line(0, error, 1, error, "ideal"))
    above = plot.y(error) - 7 > plot.top
    y = plot.y(error) - 7 if above else plot.y(error) + 16
    parts.append(_text(plot.left + 6, y, f"all answered: {100 * error:.1f} %", "start"))
    points = zip(curve.coverage, curve.selective_risk, strict=True)
    path = " ".join(f"{plot.x(x):.1f},{plot.y(y):.1f}" for x, y in points)
    parts.append(element("polyline", points=path, class_="curve"))
    if deferred:
        x, y = plot.x(deferred[0]), plot.y(deferred[1])
        parts.append(element("path", d=f"M{x:.1f} {y - 7:.1f}l7 7l-7 7l-7 -7z", class_="mark"))
    return _svg(350, label, *parts)


def histogram(counts: Mapping[str, Sequence[int]], label: str) -> Markup:
    """P(roadwork) of both classes: images with roadwork upwards, the others downwards."""
    below, above = counts.items()
    bins = len(above[1])
    scale = ticks(max(*above[1], *below[1], 1), 4)
    plot = _Plot(50, 34, 346, 290, 1, scale[-1], 0, -scale[-1])
    levels = [*[-tick for tick in reversed(scale[1:])], *scale]
    parts = [plot.frame([0, 0.25, 0.5, 0.75, 1], levels, "P(roadwork)", "Images", "")]
    for index in range(bins):
        low, high = index / bins, (index + 1) / bins
        for sign, (name, values), kind in ((1, above, "positive"), (-1, below, "negative")):
            if values[index]:
                bar = plot.bar(low, 0, high, sign * values[index], kind)
                tip = f"{name}: {values[index]} images from {low:.2f} to {high:.2f}"
                parts.append(element("g", element("title", tip), bar))
    parts.append(plot.line(0, 0, 1, 0, "axis"))
    parts.append(plot.line(0.5, -scale[-1], 0.5, scale[-1], "ideal"))
    parts.append(_text(plot.x(0.72), plot.top - 12, f"▲ {above[0]}", "end", "plus"))
    parts.append(_text(plot.x(1), plot.top - 12, f"▼ {below[0]}", "end", "minus"))
    return _svg(370, label, *parts)


def coverage_chart(rows: Mapping[str, Coverage], target: float, label: str) -> Markup:
    """Coverage of each row with its exact interval, the target, and the band of a kept promise."""
    bounds = [bound for found in rows.values() for bound in (found.low, found.band_low)]
    lowest = min([bound for bound in bounds if bound is not None] + [target])
    floor = max(0.0, int(min(lowest, 1 - 2 * (1 - target)) * 10) / 10)
    height = 46.0 * len(rows)
    plot = _Plot(100, 34, 296, height, 1, len(rows), floor)
    step = 0.05 if 1 - floor < 0.35 else 0.1 if 1 - floor < 0.65 else 0.25
    steps = [floor + step * i for i in range(round((1 - floor) / step) + 1)]
    steps = [tick for tick in steps if tick <= 1.0001]
    parts = [plot.frame(steps, [], "Sets that hold the true label", "")]
    for index, (name, found) in enumerate(rows.items()):
        middle = len(rows) - index - 0.5
        y = plot.y(middle)
        parts.append(_text(plot.left - 12, y, name, "end", "name"))
        parts.append(_text(plot.left - 12, y + 15, f"n = {found.n}", "end"))
        if found.band_low is not None and found.band_high is not None:
            parts.append(
                plot.bar(found.band_low, middle - 0.3, found.band_high, middle + 0.3, "band")
            )
        if found.value is not None and found.low is not None and found.high is not None:
            parts.append(plot.line(found.low, middle, found.high, middle, "whisker strong"))
            parts.append(element("circle", cx=plot.x(found.value), cy=y, r=5, class_="dot"))
    parts.append(plot.line(target, 0, target, len(rows), "target"))
    parts.append(_text(plot.x(target), plot.top - 10, f"target {100 * target:g} %", "middle"))
    return _svg(plot.top + height + 48, label, *parts)


def cost_curve(
    points: Sequence[tuple[float, float]],
    chosen: tuple[float, float, float, float] | None,
    label: str,
) -> Markup:
    """Accuracy over the mean number of views of an image, from all views down to one.

    Args:
        points: views and accuracy, the most views first; the first is stage 2 on every image, the
            last stage 1 on every image.
        chosen: views, accuracy and its interval at the exits in use, or None.
        label: the chart in words.
    """
    (most, whole), (fewest, glance) = points[0], points[-1]
    shown = [*(y for _, y in points), *(chosen[1:] if chosen else ())]
    step = next(s for s in (0.005, 0.01, 0.02, 0.05, 0.1, 0.2) if max(shown) - min(shown) <= 5 * s)
    low, high = math.floor(min(shown) / step) * step, math.ceil(max(shown) / step) * step
    high = high if high > low else low + step
    plot = _Plot(56, 34, 340, 270, most, high, 0, low)
    levels = [low + step * index for index in range(round((high - low) / step) + 1)]
    parts = [plot.frame(ticks(most), levels, "Views of an image, mean", "Accuracy", x_unit="")]
    parts.append(plot.line(0, whole, most, whole, "ideal"))
    parts.append(plot.line(fewest, glance, most, whole, "ideal"))
    path = " ".join(f"{plot.x(x):.1f},{plot.y(y):.1f}" for x, y in points)
    parts.append(element("polyline", points=path, class_="curve"))
    if chosen:
        views, accuracy, below, above = chosen
        parts.append(plot.line(views, below, views, above, "whisker strong"))
        x, y = plot.x(views), plot.y(accuracy)
        parts.append(element("path", d=f"M{x:.1f} {y - 7:.1f}l7 7l-7 7l-7 -7z", class_="mark"))
    return _svg(350, label, *parts)


def interval_bar(
    value: float, low: float, high: float, domain: tuple[float, float], reference: float | None
) -> Markup:
    """A value with its interval on a small line over ``domain``, and a reference, for tables."""
    plot = _Plot(6, 0, 128, 16, domain[1], 1, domain[0])
    parts = [plot.line(domain[0], 0.5, domain[1], 0.5, "grid")]
    if reference is not None:
        parts.append(plot.line(reference, 0, reference, 1, "axis"))
    parts.append(plot.line(low, 0.5, high, 0.5, "whisker strong"))
    parts.append(element("circle", cx=plot.x(value), cy=8, r=3.5, class_="dot"))
    return element(
        "svg",
        *parts,
        viewBox="0 0 140 16",
        width=140,
        height=16,
        class_="spark",
        aria_hidden="true",
    )


def _svg(height: float, label: str, *parts: str) -> Markup:
    return element(
        "svg",
        *parts,
        viewBox=f"0 0 {WIDTH:.0f} {height:.0f}",
        role="img",
        aria_label=label,
        class_="chart",
    )


def _text(x: float, y: float, words: str, anchor: str, kind: str = "tick") -> Markup:
    return element("text", words, x=x, y=y, text_anchor=anchor, class_=kind)


def _tick(value: float, unit: str) -> str:
    return f"{100 * value:.4g} %" if unit == "%" else f"{value:,.0f}"
