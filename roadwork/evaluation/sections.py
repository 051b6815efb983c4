"""Sections of the report page that are tables and pictures: slices, errors, data, provenance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from roadwork.evaluation.drawing import interval_bar
from roadwork.evaluation.markup import Markup, element, join
from roadwork.evaluation.record import Check, Count, Coverage, EvaluationReport, WorstError
from roadwork.evaluation.slice_tests import SliceTest
from roadwork.evaluation.slices import MINIMUM_PER_CLASS, MINIMUM_ROWS, Slice, SliceReport
from roadwork.evaluation.verdict import (
    DASH,
    in_order,
    number,
    percent,
    slice_name,
    span,
    widest_gap,
)

__all__ = ["data_section", "error_section", "evidence_section", "slice_section", "table"]

_SHOWN = 12
_HEAD = (
    "Slice",
    "Images",
    "Roadwork",
    "Groups",
    "AUROC",
    "",
    "Gap to the rest",
    "Coverage",
    "MCC",
    "Recall",
)


def table(head: Sequence[str], rows: Iterable[Markup], numeric: Iterable[int] = ()) -> Markup:
    """A table that scrolls sideways on a narrow screen; rows are ``<tr>`` elements.

    Heads of the ``numeric`` columns, counted from 0, are aligned right like their cells.
    """
    right = frozenset(numeric)
    cells = [
        element("th", words, scope="col", class_="num" if index in right else None)
        for index, words in enumerate(head)
    ]
    return element(
        "div",
        element("table", element("thead", element("tr", *cells)), element("tbody", *rows)),
        class_="scroll",
    )


def slice_section(report: EvaluationReport) -> Markup:
    """Metrics by slice, with the slice of the lowest AUROC marked in every column."""
    floor = _floor(report)
    intro = element(
        "p",
        "How the model does on parts of the test set. A part of fewer than "
        f"{MINIMUM_ROWS} images, or of fewer than {MINIMUM_PER_CLASS} of either class, is "
        f"listed without figures. Drawn lines run from {floor:g} to 1, and the mark on them is "
        "the whole test set. The gap is the AUROC of the part less that of all other images. "
        "Many parts are compared, and the worst of many looks worse than it is: p is adjusted for "
        "all of them (Holm), and is approximate, as it comes from resampled groups. Coverage is "
        "that of the prediction sets, with its exact interval for independent images; it is "
        "promised of no part alone.",
    )
    if not report.slices:
        none = element("p", "The test set has no descriptive columns.", class_="soft")
        return element("section", element("h2", "Slices"), none, id="slices")
    beside = _Beside(
        {(test.column, test.name): test for test in report.slice_tests},
        {(part.column, part.name): part.coverage for part in report.conformal.slices},
    )
    rows: list[Markup] = []
    for column in report.slices:
        rows += _column(column, floor, beside)
    return element(
        "section",
        element("h2", "Slices"),
        element("p", widest_gap(report).text),
        intro,
        table(_HEAD, rows, (1, 2, 3, 4, 6, 7, 8, 9)),
        id="slices",
    )


@dataclass(frozen=True)
class _Beside:
    """What is known of a slice, by column and name, beside its metrics."""

    gaps: Mapping[tuple[str, str], SliceTest]
    coverage: Mapping[tuple[str, str], Coverage]

    def cells(self, column: str, name: str) -> Iterable[Markup]:
        """The gap to the rest, and the coverage of the sets."""
        gap, found = self.gaps.get((column, name)), self.coverage.get((column, name))
        p = f"p {_p(gap.p_holm)}" if gap and gap.p_holm is not None else ""
        yield _two(number(gap.difference if gap else None, signed=True), p)
        bounds = span(found.low, found.high, shares=True) if found else ""
        yield _two(percent(found.value if found else None), bounds)


def _p(value: float) -> str:
    return "below 0.001" if value < 0.001 else number(value)


def _two(value: str, below: str) -> Markup:
    return element("td", value, element("span", below, class_="span"), class_="num")


def _floor(report: EvaluationReport) -> float:
    """Left end of the interval lines: the tenth below the lowest interval."""
    aurocs = [part.metrics["auroc"] for column in report.slices for part in column.slices]
    return int(10 * min([found.low for found in aurocs if found.low is not None] + [0.9])) / 10


def _column(column: SliceReport, floor: float, beside: _Beside) -> Iterable[Markup]:
    worst = column.worst("auroc")
    gap = f", worst: {slice_name(worst.name)}, {number(worst.gap)} below the whole" if worst else ""
    name = column.column.replace("_", " ")
    title = element("th", f"{name}{gap}", colspan=len(_HEAD), scope="rowgroup")
    yield element("tr", title, class_="group")
    overall = column.overall["auroc"].value
    marked = worst.name if worst and len(column.slices) > 1 else None
    for part in column.slices[:_SHOWN]:
        known = beside.cells(column.column, part.name)
        yield _slice(part, overall, part.name == marked, floor, known)
    hidden = len(column.slices) - _SHOWN
    if hidden > 0:
        words = f"and {hidden} smaller slices, which the JSON report holds"
        yield element("tr", element("td", words, colspan=len(_HEAD), class_="soft"))


def _slice(
    part: Slice, overall: float | None, worst: bool, floor: float, known: Iterable[Markup]
) -> Markup:
    auroc = part.metrics["auroc"]
    drawn = Markup("")
    if auroc.value is not None and auroc.low is not None and auroc.high is not None:
        drawn = interval_bar(auroc.value, auroc.low, auroc.high, (floor, 1.0), overall)
    below = span(auroc.low, auroc.high) or auroc.reason or ""
    cells = [element("td", f"{count:,}", class_="num") for count in (part.n, part.n_pos)]
    cells.append(element("td", f"{part.n_groups:,}", class_="num"))
    kind = "span" if auroc.value is not None else "why"
    cells.append(
        element("td", number(auroc.value), element("span", below, class_=kind), class_="num")
    )
    cells += [element("td", drawn), *known]
    cells += [
        element("td", number(part.metrics[name].value), class_="num") for name in ("mcc", "recall")
    ]
    tag = element("span", "worst", class_="tag") if worst else ""
    return element(
        "tr",
        element("th", slice_name(part.name), tag, scope="row", class_="wrap"),
        *cells,
        class_="worst" if worst else None,
    )


def error_section(report: EvaluationReport) -> Markup:
    """The most confident mistakes, with pictures."""
    if report.worst_errors:
        words = "The most confident mistakes first. Look for wrong labels as well as wrong answers."
        content = element("ul", *map(_error, report.worst_errors), class_="gallery")
    else:
        words = "No errors are shown: the model made none, or the settings ask for none."
        content = Markup("")
    return element(
        "section", element("h2", "Worst errors"), element("p", words), content, id="errors"
    )


def _error(error: WorstError) -> Markup:
    picture = element("div", "no picture", class_="none")
    if error.thumbnail:
        source = f"data:image/jpeg;base64,{error.thumbnail}"
        picture = element("img", src=source, alt=f"{error.file}, labelled {error.label}")
    sets = ", ".join(error.prediction_set) or "empty"
    words = element(
        "div",
        element("b", f"labelled {error.label}"),
        f", P(roadwork) {number(error.probability)}",
        element("br"),
        f"set: {sets}",
        element("br"),
        element("span", error.file, class_="soft"),
        class_="words",
    )
    return element("li", picture, words)


def data_section(report: EvaluationReport) -> Markup:
    """Counts of roles and sources, what was set aside, and what has touched the model."""
    data = report.data
    head = ["", "Images", "With roadwork", "Share", "Groups"]
    parts = [
        element("h3", "Roles: whole groups, never divided"),
        table(head, [_counted(name, count) for name, count in in_order(data.roles)], range(1, 5)),
        element("h3", "Sources"),
        table(head, [_counted(name, count) for name, count in in_order(data.sources)], range(1, 5)),
    ]
    aside = [*sorted(data.quarantine.items()), ("exact copies of a kept file", data.exact_copies)]
    rows = [
        element(
            "tr", element("th", name.replace("_", " ")), element("td", f"{count:,}", class_="num")
        )
        for name, count in aside
    ]
    parts += [element("h3", "Left out"), table(["Reason", "Files"], rows, (1,))]
    parts.append(element("h3", "Exposure: what has touched this model"))
    parts.append(
        element(
            "p",
            "The report is refused as soon as one test image or group is among these.",
            class_="soft",
        )
    )
    rows = [
        element(
            "tr",
            element("th", use),
            element("td", f"{found.get('samples', 0):,}", class_="num"),
            element("td", f"{found.get('groups', 0):,}", class_="num"),
        )
        for use, found in in_order(report.exposure)
    ]
    parts.append(table(["Use", "Images", "Group names"], rows, (1, 2)))
    return element("section", element("h2", "Data"), *parts, id="data")


def _counted(name: str, count: Count) -> Markup:
    share = percent(count.n_positive / count.n) if count.n else DASH
    values = (f"{count.n:,}", f"{count.n_positive:,}", share, f"{count.n_groups:,}")
    cells = (element("td", value, class_="num") for value in values)
    return element("tr", element("th", name, scope="row", class_="wrap"), *cells)


def evidence_section(report: EvaluationReport) -> Markup:
    """Gates, parity, what was evaluated, and from which settings and code."""
    parts: list[Markup] = []
    for title, checks, empty in (
        ("Promotion gates", report.gates, "Not decided yet: the gate runs after the export."),
        ("Parity of the exported engines", report.parity, "Not exported yet."),
    ):
        parts.append(element("h3", title))
        if checks:
            parts.append(table(["Check", "Result", "Detail"], map(_check, checks)))
        else:
            parts.append(element("p", empty, class_="soft"))
    made = report.provenance
    skipped = ", ".join(f"{name} {count}" for name, count in in_order(made.bootstrap_skipped))
    facts = {
        "Model": f"{report.model.title}. {report.model.description}",
        "Backbone": report.model.backbone,
        "Starting weights": report.model.weights,
        "Adapter": report.model.adapter,
        "Input": report.model.input,
        "Calibrator": report.model.calibrator,
        "Settings (SHA-256)": made.settings_hash,
        "Test set (SHA-256)": made.test_hash,
        "Code": f"roadwork {made.code_version}",
        "Seed": str(made.seed),
        "Resamples": f"{made.bootstrap:,}"
        + (f"; without a value in some: {skipped}" if skipped else ""),
    }
    listed = [
        join(
            element("dt", name),
            element("dd", element("code", fact) if "SHA" in name else fact),
        )
        for name, fact in facts.items()
    ]
    parts.append(element("h3", "What was evaluated"))
    parts.append(element("dl", *listed, class_="plain"))
    return element("section", element("h2", "Provenance"), *parts, id="evidence")


def _check(check: Check) -> Markup:
    result = element("span", "passed", class_="pass")
    if not check.passed:
        result = element("span", "failed", class_="fail")
    return element(
        "tr",
        element("th", check.name, scope="row", class_="wrap"),
        element("td", result),
        element("td", check.detail, class_="wrap"),
    )
