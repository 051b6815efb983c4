"""The evaluation report as one self-contained HTML page.

No script, no font and no picture comes from elsewhere, and the page's own content policy forbids
it. Light and dark, on paper and on a telephone. Whatever comes from data is escaped by
:mod:`roadwork.evaluation.markup`; the page is a pure function of the record.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from roadwork.evaluation import drawing
from roadwork.evaluation.figures import calibration_section, promise_section, selection_section
from roadwork.evaluation.markup import Markup, element, join
from roadwork.evaluation.metrics import METRICS, Metric
from roadwork.evaluation.page import document, key_tile
from roadwork.evaluation.record import EvaluationReport
from roadwork.evaluation.sections import (
    data_section,
    error_section,
    evidence_section,
    slice_section,
    table,
)
from roadwork.evaluation.verdict import (
    DASH,
    SYNTHETIC,
    findings,
    headline,
    number,
    percent,
    span,
)

__all__ = ["render_html"]

_SHARES = frozenset({"accuracy", "balanced_accuracy"})
_FIRST = ("auroc", "auprc", "within_group_auroc", "mcc")
_SECTIONS: Mapping[str, str] = {
    "models": "Models",
    "calibration": "Calibration",
    "selection": "Answering or deferring",
    "promise": "Prediction sets",
    "slices": "Slices",
    "errors": "Worst errors",
    "data": "Data",
    "evidence": "Provenance",
}


def render_html(report: EvaluationReport) -> str:
    """Draw the report; equal reports give equal pages."""
    links = (element("a", words, href=f"#{name}") for name, words in _SECTIONS.items())
    body = element(
        "body",
        element("header", *_opening(report), element("nav", *links, aria_label="Sections")),
        element(
            "main",
            _models(report),
            calibration_section(report),
            selection_section(report),
            promise_section(report),
            slice_section(report),
            error_section(report),
            data_section(report),
            evidence_section(report),
        ),
        element(
            "footer",
            element(
                "p",
                f"Intervals are 95 % percentile intervals from {report.provenance.bootstrap:,} "
                "resamples of whole groups, unless they are called exact. An interval of a "
                "calibration error can lie above the value, because resampling adds to it.",
            ),
        ),
    )
    return document(f"roadwork evaluation: {report.name}", body)


def _opening(report: EvaluationReport) -> Iterable[Markup]:
    """What this is, what came out, and the key figures."""
    yield element(
        "p",
        f"Evaluation report · {report.name} · does a street photograph show roadwork?",
        class_="kicker",
    )
    yield element("h1", headline(report))
    if report.synthetic:
        yield element("p", element("b", "Generated scenes. "), SYNTHETIC, class_="banner")
    yield element(
        "ul",
        *(element("li", found.text, class_=found.tone) for found in findings(report)),
        class_="findings",
    )
    sets = report.conformal
    answered = sets.accepted_accuracy
    tiles = [key_tile("AUROC", *_written(report.metric("auroc")))]
    tiles.append(key_tile("Matthews correlation", *_written(report.metric("mcc"))))
    tiles.append(key_tile("Brier score (lower is better)", *_written(report.metric("brier"))))
    tiles += [
        key_tile(
            f"Coverage of '{name}'",
            percent(found.value),
            f"{span(found.low, found.high, shares=True)}, exact" if found.n else "no such image",
        )
        for name, found in ((name, sets.classes[name]) for name in report.classes)
    ]
    tiles.append(
        key_tile(
            "Answered alone",
            percent(1 - sets.defer),
            f"{percent(answered.value)} of these right" if answered.n else "nothing is answered",
        )
    )
    yield element("dl", *tiles, class_="key")


def _written(metric: Metric | None, *, shares: bool = False) -> tuple[str, str]:
    """Value and interval; or a dash and the reason."""
    if metric is None:
        return DASH, "not computed"
    if metric.value is None:
        return DASH, metric.reason or "undefined"
    value = percent(metric.value) if shares else number(metric.value)
    return value, span(metric.low, metric.high, shares=shares) or metric.reason or ""


def _models(report: EvaluationReport) -> Markup:
    named = {name for row in report.rows for name in row.metrics}
    names = [name for name in dict.fromkeys((*_FIRST, *METRICS)) if name in named]
    names = [name for name in names if "sets" not in METRICS[name].needs]
    head = ["Metric", *(row.title for row in report.rows)]
    lines = []
    for name in names:
        higher = METRICS[name].higher_is_better
        arrow = {True: "↑", False: "↓", None: ""}[higher]
        cells = []
        for row in report.rows:
            value, below = _written(row.metrics.get(name), shares=name in _SHARES)
            kind = "span" if value != DASH else "why"
            cells.append(element("td", value, element("span", below, class_=kind), class_="num"))
        hint = element("span", f" {arrow}", class_="soft")
        lines.append(element("tr", element("th", METRICS[name].title, hint, scope="row"), *cells))
    pairs = report.within_group
    about = [join(element("dt", row.title), element("dd", row.description)) for row in report.rows]
    return element(
        "section",
        element("h2", "Models"),
        element(
            "p",
            "Every figure on the same test images; ↑ higher is better, ↓ lower is better. AUROC "
            "within groups compares images of the same drive only, so that recognising the "
            f"street cannot help: {pairs.n_pairs:,} pairs in {pairs.n_groups} drives.",
        ),
        element("dl", *about, class_="plain"),
        table(head, lines, range(1, len(head))),
        *_comparison(report),
        id="models",
    )


def _comparison(report: EvaluationReport) -> Iterable[Markup]:
    if not report.comparison:
        yield element("p", "No baseline was evaluated, so there is no comparison.", class_="soft")
        return
    bounds = [abs(b) for pair in report.comparison for b in (pair.low, pair.high) if b is not None]
    reach = max([*bounds, 0.01]) * 1.1
    lines = []
    for pair in report.comparison:
        arrow = "higher" if METRICS[pair.metric].higher_is_better else "lower"
        drawn: Markup | str = pair.reason or ""
        if pair.difference is not None and pair.low is not None and pair.high is not None:
            drawn = drawing.interval_bar(pair.difference, pair.low, pair.high, (-reach, reach), 0.0)
        lines.append(
            element(
                "tr",
                element("th", METRICS[pair.metric].title, scope="row"),
                element("td", number(pair.difference, signed=True), class_="num"),
                element("td", span(pair.low, pair.high), class_="num"),
                element("td", drawn),
                element("td", f"{arrow} is better"),
            )
        )
    yield element("h3", "Model less baseline, on the same resampled groups")
    yield table(["Metric", "Difference", "95 % interval", "", ""], lines, (1, 2))
