"""A comparison of runs as one self-contained page, or as one picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from roadwork.evaluation.comparison import ComparedRun, Comparison, Row, shown
from roadwork.evaluation.comparison_charts import (
    STYLE,
    WIDTH,
    Panel,
    interval_rows,
    learning_curves,
    legend,
)
from roadwork.evaluation.markup import Markup, element
from roadwork.evaluation.metrics import METRICS
from roadwork.evaluation.page import css, document, figure
from roadwork.evaluation.sections import table
from roadwork.evaluation.verdict import DASH, number, short_title, span

__all__ = ["render_html", "render_svg"]

_FIRST = ("select/nll", "train/loss", "pretrain/loss")
_FONT = 'text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }'


def render_html(comparison: Comparison, runs: Sequence[ComparedRun]) -> str:
    """The whole comparison as a page: nothing comes from elsewhere, light and dark."""
    curves = [
        figure(
            name, panel.svg(), "Line: mean of a stretch of steps; band: lowest to highest in it."
        )
        for name, panel in _curves(runs)
    ]
    metrics = [
        figure(
            METRICS[name].title,
            panel.svg(),
            "Paired difference to the first run, on the same resampled groups."
            if paired
            else f"On each run's own test set, with 95 % intervals; {_direction(name)}.",
        )
        for name, paired, panel in _metrics(comparison)
    ]
    body = element(
        "body",
        element("style", STYLE),
        element(
            "header",
            element(
                "p", "Comparison of runs · does a street photograph show roadwork?", class_="kicker"
            ),
            element("h1", _headline(comparison)),
            element(
                "ul",
                *(element("li", note, class_="unclear") for note in comparison.notes),
                class_="findings",
            ),
            element("div", legend(comparison.runs).svg()),
            element(
                "dl",
                *(
                    element(tag, words)
                    for pair in zip(comparison.runs, comparison.about, strict=True)
                    for tag, words in zip(("dt", "dd"), pair, strict=True)
                ),
                class_="plain",
            ),
        ),
        element(
            "main",
            _section("Metrics", metrics, "No metric is known of any run."),
            _differences(comparison),
            _section("Learning curves", curves, "No learning curves were kept."),
            _rows("Settings that differ", comparison.runs, comparison.settings),
            _rows("Data, code and machines that differ", comparison.runs, comparison.facts),
        ),
        element(
            "footer",
            element(
                "p",
                "Intervals are 95 % percentile intervals over resampled groups. A paired "
                "difference is one run less the first, both judged on the same resamples.",
            ),
        ),
    )
    return document(f"roadwork: {', '.join(comparison.runs)}", body)


def render_svg(comparison: Comparison, runs: Sequence[ComparedRun]) -> str:
    """Every chart of the comparison in one picture of two columns, light or dark as the viewer."""
    metrics = list(_metrics(comparison))
    rows: list[list[Panel]] = []
    for name in comparison.metrics:
        rows.append([panel for of, _, panel in metrics if of == name])
    curves = [panel for _, panel in _curves(runs)]
    rows += [curves[start : start + 2] for start in range(0, len(curves), 2)]
    key = legend(comparison.runs)
    parts, top = [_placed(key, 16, 12)], key.height + 32
    for row in (row for row in rows if row):
        parts += [_placed(panel, 16 + n * (WIDTH + 24), top) for n, panel in enumerate(row)]
        top += max(panel.height for panel in row) + 24
    width, height = 2 * WIDTH + 56, top
    style = element("style", Markup(css() + STYLE + _FONT))
    ground = element("rect", width=width, height=height, fill="var(--card)")
    picture = element(
        "svg",
        style,
        ground,
        *parts,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width:.0f} {height:.0f}",
        width=width,
        height=height,
        role="img",
        aria_label=f"Comparison of {', '.join(comparison.runs)}",
    )
    return picture + "\n"


def _placed(panel: Panel, x: float, y: float) -> Markup:
    return element("g", panel.inside, transform=f"translate({x:.0f} {y:.0f})")


def _headline(comparison: Comparison) -> str:
    first = comparison.runs[0]
    found = [one for one in comparison.differences if one.better is not None]
    if not any(one.paired for one in comparison.differences):
        return f"No run can be compared with {first} image by image"
    if not found:
        return f"No run differs from {first} by more than the test images allow for"
    words = []
    for run in dict.fromkeys(one.run for one in found):
        for better, word in ((True, "better"), (False, "worse")):
            names = [_title(one.metric) for one in found if (one.run, one.better) == (run, better)]
            listed = ", ".join(names) if len(names) <= 2 else f"{len(names)} metrics"
            words += [f"{run} is {word} in {listed}"] if names else []
    return f"Compared with {first}: {'; '.join(words)}"


def _title(name: str) -> str:
    """Title of a metric without its definition and unit."""
    return short_title(name).partition(" (")[0]


def _curves(runs: Sequence[ComparedRun]) -> Iterable[tuple[str, Panel]]:
    titles = [run.title for run in runs]
    names = {name for run in runs for name in run.curves.names}
    for name in sorted(names, key=lambda name: (name not in _FIRST, name)):
        found = [(number, run.curves.of(name)) for number, run in enumerate(runs)]
        yield name, learning_curves(name, [(n, points) for n, points in found if points], titles)


def _metrics(comparison: Comparison) -> Iterable[tuple[str, bool, Panel]]:
    """Name, whether it shows paired differences, and chart."""
    for name, metrics in comparison.metrics.items():
        rows = [
            (run, metric.value, metric.low, metric.high)
            for run, metric in enumerate(metrics)
            if metric is not None and metric.value is not None
        ]
        if rows:
            yield name, False, interval_rows(_title(name), rows, comparison.runs)
        paired = [
            (comparison.runs.index(one.run), pair.difference, pair.low, pair.high)
            for one in comparison.differences
            if one.metric == name and (pair := one.paired) and pair.difference is not None
        ]
        if paired:
            title = f"{_title(name)}, difference to {comparison.runs[0]}"
            yield name, True, interval_rows(title, paired, comparison.runs, zero=True)


def _section(title: str, figures: Sequence[Markup], otherwise: str) -> Markup:
    inside = element("div", *figures, class_="charts") if figures else element("p", otherwise)
    return element("section", element("h2", title), inside)


def _differences(comparison: Comparison) -> Markup:
    lines = []
    for one in comparison.differences:
        pair = one.paired
        cells = (
            element("td", METRICS[one.metric].title),
            element("td", number(pair.difference if pair else None, signed=True), class_="num"),
            element("td", span(pair.low, pair.high) if pair else DASH, class_="num"),
            element("td", number(pair.share if pair else None), class_="num"),
            element("td", f"{one.images:,}", class_="num"),
            element("td", one.verdict, class_="wrap"),
        )
        lines.append(element("tr", element("th", one.run, scope="row"), *cells))
    head = ["Run", "Metric", "Difference", "95 % interval", "p", "Images", ""]
    return element(
        "section",
        element("h2", f"Paired differences to {comparison.runs[0]}"),
        table(head, lines, (2, 3, 4, 5)),
        element(
            "p",
            "p: like a two-sided p-value, read off the same resamples as the interval.",
            class_="soft small",
        ),
    )


def _rows(title: str, runs: Sequence[str], rows: Sequence[Row]) -> Markup:
    if not rows:
        return element("section", element("h2", title), element("p", "None."))
    lines = [
        element(
            "tr",
            element("th", element("code", row.key), scope="row"),
            *(element("td", shown(v) or DASH, class_="wrap") for v in row.values),
        )
        for row in rows
    ]
    return element("section", element("h2", title), table(["", *runs], lines))


def _direction(name: str) -> str:
    higher = METRICS[name].higher_is_better
    return {True: "higher is better", False: "lower is better", None: "neither is better"}[higher]
