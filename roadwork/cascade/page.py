"""The cascade's report as one self-contained HTML page, a pure function of the record."""

from __future__ import annotations

from collections.abc import Iterable

from roadwork.cascade.confidence import CONFIDENCE_METRICS
from roadwork.cascade.findings import COLUMNS, findings, headline, signed_span
from roadwork.cascade.record import CascadeReport, PromiseCheck, StageRow
from roadwork.evaluation.drawing import cost_curve
from roadwork.evaluation.markup import Markup, element, join
from roadwork.evaluation.metrics import Metric
from roadwork.evaluation.page import document, figure, key_tile
from roadwork.evaluation.sections import table
from roadwork.evaluation.verdict import DASH, SYNTHETIC, in_order, number, percent

__all__ = ["render_page"]

_SHARES = frozenset({"accuracy", "recall", "precision", "recall_at_90_precision"})
_VERDICTS = {
    "kept": ("kept", "pass"),
    "unclear": ("above it, within chance", "soft"),
    "broken": ("broken", "fail"),
    "not judged": ("nothing to judge", "soft"),
}
_DEFERRED = (
    "An image that goes to a person is counted above with the answer that stage 2 would have given."
)


def render_page(report: CascadeReport) -> str:
    """Draw the report; equal reports give equal pages."""
    body = element(
        "body",
        element("header", *_opening(report)),
        element("main", _cost(report), _promises(report), _confidence(report), _provenance(report)),
        element(
            "footer",
            element(
                "p",
                f"Intervals are 95 % percentile intervals from {report.bootstrap:,} resamples of "
                "whole groups; differences are taken on the same resamples.",
            ),
        ),
    )
    return document(f"roadwork cascade: {report.name}", body)


def _opening(report: CascadeReport) -> Iterable[Markup]:
    yield element(
        "p",
        f"Two-stage cascade · {report.name} · the global view first, all views where needed",
        class_="kicker",
    )
    yield element("h1", headline(report))
    if report.synthetic:
        yield element("p", element("b", "Generated scenes. "), SYNTHETIC, class_="banner")
    items = (element("li", found.text, class_=found.tone) for found in findings(report))
    yield element("ul", *items, class_="findings")
    own, second = report.row("cascade"), report.row("second")
    yield element(
        "dl",
        key_tile("Answered by stage 1", *_written(report.exited, shares=True)),
        key_tile(f"Views of an image, of {report.stage_views[1]}", *_written(own.views, digits=2)),
        key_tile("Accuracy", *_written(own.metrics["accuracy"], shares=True)),
        key_tile("Accuracy of stage 2 alone", *_written(second.metrics["accuracy"], shares=True)),
        key_tile("Recall", *_written(own.metrics["recall"], shares=True)),
        key_tile("Goes to a person", *_written(report.deferred, shares=True)),
        class_="key",
    )


def _cost(report: CascadeReport) -> Markup:
    own, curve = report.row("cascade"), report.curve
    accuracy, views = own.metrics["accuracy"], own.views
    chosen = None
    if report.exits.feasible and None not in (accuracy.low, views.value, accuracy.value):
        chosen = (
            float(views.value or 0.0),
            float(accuracy.value or 0.0),
            float(accuracy.low or 0.0),
            float(accuracy.high or 0.0),
        )
    drawn = cost_curve(
        list(zip(curve.views, curve.accuracy, strict=True)),
        chosen,
        "Accuracy of the cascade over the mean number of views of an image",
    )
    below = (
        "Every cut on stage 1's confidence, judged on these images: a description, not a promise. "
        "Dashed: stage 2 on every image, and passing on images at random."
    )
    mark = " The diamond is the cascade with its exits, with its interval." if chosen else ""
    head = ["", "Views", *COLUMNS.values()]
    return element(
        "section",
        element("h2", "What it costs and what it is worth"),
        element("div", figure("Accuracy and compute", drawn, below + mark), class_="charts"),
        element("h3", "Ways to answer, on the same test images"),
        table(head, map(_row, report.rows), range(1, len(head))),
        element("h3", "Less stage 2 alone, on the same resampled groups"),
        table(
            ["", *COLUMNS.values()],
            (_less(row) for row in report.rows if row.less_second),
            range(1, len(COLUMNS) + 1),
        ),
        element("p", _second_stage(report), class_="soft"),
        *(
            [element("p", _DEFERRED, class_="soft")]
            if report.exits.promise.max_wrong is not None
            else []
        ),
        id="cost",
    )


def _row(row: StageRow) -> Markup:
    cells = [_cell(*_written(row.views, digits=2))]
    cells += [_cell(*_written(row.metrics[name], shares=name in _SHARES)) for name in COLUMNS]
    return element("tr", element("th", row.title, scope="row"), *cells)


def _less(row: StageRow) -> Markup:
    found = (row.less_second[name] for name in COLUMNS)
    cells = (_cell(number(m.value, signed=True), signed_span(m) or m.reason or "") for m in found)
    return element("tr", element("th", row.title, scope="row"), *cells)


def _second_stage(report: CascadeReport) -> str:
    if report.trains == "heads":
        return (
            "The heads of both stages were trained: stage 2 is another model than the classifier "
            "of the evaluation report, with a calibrator of its own. The classifier's prediction "
            "sets do not hold for it."
        )
    same = "Stage 2 is the classifier of the evaluation report, weight for weight"
    if report.agrees is None:
        return f"{same}."
    return f"{same}; its probabilities on the test set differ by at most {report.agrees:.1g}."


def _promises(report: CascadeReport) -> Markup:
    policy = report.exits
    exits = [
        f"stage 1 answers {words} where P(roadwork) is {side} {value:.4g}"
        for words, side, value in (
            ('"none"', "at most", policy.low),
            ('"roadwork"', "at least", policy.high),
        )
        if value is not None
    ]
    return element(
        "section",
        element("h2", "The promise"),
        element("p", report.guarantee),
        element("p", f"In use: {'; '.join(exits) or 'no exits'}."),
        table(
            ["On the test set, every group with one vote", "Promised", "Found", "Groups", ""],
            map(_check, report.promise),
            (1, 2, 3),
        ),
        element(
            "p",
            "A promise speaks of new groups, with the confidence that it names, over draws of the "
            "set that the exits were fitted on. The test set is one sample: what is found on it is "
            "a statement about these images, neither a proof nor a refutation.",
            class_="soft",
        ),
        id="promise",
    )


def _check(check: PromiseCheck) -> Markup:
    words, kind = _VERDICTS[check.verdict]
    return element(
        "tr",
        element("th", check.title, scope="row"),
        element("td", f"at most {100 * check.bound:.4g} %", class_="num"),
        _cell(*_written(check.found, shares=True)),
        element("td", f"{check.votes:,}", class_="num"),
        element("td", element("span", words, class_=kind)),
    )


def _confidence(report: CascadeReport) -> Markup:
    rows = []
    for name, info in CONFIDENCE_METRICS.items():
        found = report.confidence[name]
        arrow = element("span", " ↑" if info.higher_is_better else " ↓", class_="soft")
        rows.append(
            element("tr", element("th", info.title, arrow, scope="row"), _cell(*_written(found)))
        )
    return element(
        "section",
        element("h2", "Does stage 1 know where it is right?"),
        element(
            "p",
            "A cascade saves where stage 1 is sure and right, and is safe where it is unsure and "
            "wrong. The measures are those of the Gatekeeper paper; ↑ higher is better, ↓ lower is "
            "better.",
        ),
        table(["Measure", "Value"], rows, (1,)),
        id="confidence",
    )


def _provenance(report: CascadeReport) -> Markup:
    facts = {
        "Heads trained by": report.objective,
        "Exits fitted on": f"{report.exits.n:,} images of {report.exits.votes:,} groups, "
        f"{report.exits.roadwork_votes:,} of which show roadwork",
        "Test set": f"{report.test.n:,} images of {report.test.n_groups:,} groups, "
        f"{report.test.n_positive:,} images of roadwork",
        "Cascade (SHA-256)": report.cascade_hash,
        "Test set (SHA-256)": report.test_hash,
        "Code": f"roadwork {report.code_version}",
        "Seed": str(report.seed),
    }
    listed = (
        join(element("dt", name), element("dd", element("code", fact) if "SHA" in name else fact))
        for name, fact in facts.items()
    )
    uses = (
        element(
            "tr",
            element("th", use, scope="row"),
            *(element("td", f"{counts[kind]:,}", class_="num") for kind in ("samples", "groups")),
        )
        for use, counts in in_order(report.exposure)
    )
    return element(
        "section",
        element("h2", "Provenance"),
        element("dl", *listed, class_="plain"),
        element("h3", "Exposure: what has touched the cascade, its calibrators and its exits"),
        table(["Use", "Images", "Groups"], uses, (1, 2)),
        id="provenance",
    )


def _cell(value: str, below: str) -> Markup:
    kind = "why" if value == DASH else "span"
    return element("td", value, element("span", below, class_=kind), class_="num")


def _written(metric: Metric, *, shares: bool = False, digits: int = 3) -> tuple[str, str]:
    """Value and interval, or a dash and the reason."""
    if metric.value is None:
        return DASH, metric.reason or "undefined"

    def write(value: float) -> str:
        return percent(value) if shares else number(value, digits)

    bounds = ""
    if metric.low is not None and metric.high is not None and metric.low < metric.high:
        bounds = f"{write(metric.low)} to {write(metric.high)}"
    return write(metric.value), bounds or metric.reason or ""
