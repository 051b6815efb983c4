"""Sections of the report page that are charts: calibration, deferral, and the prediction sets."""

from __future__ import annotations

from collections.abc import Iterable

from roadwork.calibration.choice import CalibratorComparison, MethodResult
from roadwork.evaluation import drawing
from roadwork.evaluation.defer_section import defer_threshold
from roadwork.evaluation.markup import Markup, element
from roadwork.evaluation.metrics import Metric
from roadwork.evaluation.page import figure
from roadwork.evaluation.record import Coverage, EvaluationReport
from roadwork.evaluation.sections import table
from roadwork.evaluation.verdict import DASH, number, percent, span

__all__ = ["calibration_section", "promise_section", "selection_section"]


def calibration_section(report: EvaluationReport) -> Markup:
    """Reliability diagrams before and after calibration."""
    bins = report.reliability
    charts = []
    if bins.before:
        chart = drawing.reliability(bins.before, "Reliability diagram before calibration")
        charts.append(figure("Before calibration", chart, _errors(report, "uncalibrated")))
    chart = drawing.reliability(bins.after, "Reliability diagram after calibration")
    charts.append(figure("After calibration", chart, _errors(report, "model")))
    return element(
        "section",
        element("h2", "Calibration"),
        element(
            "p",
            "Of the images given a probability of 70 %, about 70 % should show roadwork: the dots "
            "should lie on the dashed line. Whiskers are exact 95 % intervals for independent "
            "images; the bars below count the images.",
        ),
        element("p", f"Calibration: {report.model.calibrator}.", class_="soft"),
        element("div", *charts, class_="charts"),
        *_choice(report.calibrators),
        id="calibration",
    )


def _choice(compared: CalibratorComparison | None) -> Iterable[Markup]:
    """How the calibrator was chosen; nothing where the settings named it."""
    if compared is None or compared.asked != "auto":
        return
    yield element("h3", "How the calibrator was chosen")
    taken = compared.result(compared.chosen)
    title = taken.title if taken else compared.chosen
    yield element("p", f"Taken: {title}. Why: {compared.why}.")
    if not compared.results:
        return
    yield element(
        "p",
        f"Cross-validation in {compared.folds} parts over the {compared.n:,} images of "
        f"{compared.n_groups:,} groups of the calibration set: every image was judged by a map "
        "that had not seen its group. The test set had no part in it. The methods stand from the "
        "simplest to the most flexible.",
        class_="soft",
    )
    yield table(
        ["Method", "Log-loss", "Behind the least (standard error)", "Brier", "ECE"],
        (_method(found, found is taken) for found in compared.results),
        range(1, 5),
    )


def _method(found: MethodResult, taken: bool) -> Markup:
    tag = element("span", "taken", class_="tag") if taken else ""
    name = element("th", found.title, tag, scope="row", class_="wrap")
    if found.refused is not None:
        return element("tr", name, element("td", found.refused, colspan=4, class_="soft wrap"))
    values = (
        number(found.nll, 4),
        f"{number(found.excess, 4)} ({number(found.standard_error, 4)})",
        number(found.brier, 4),
        number(found.ece, 4),
    )
    return element("tr", name, *(element("td", value, class_="num") for value in values))


def _errors(report: EvaluationReport, key: str) -> str:
    parts = (("ECE", "ece_positive"), ("Brier", "brier"), ("log-loss", "nll"))
    values = ((title, report.metric(name, key)) for title, name in parts)
    return ", ".join(f"{title} {number(m.value)}" for title, m in values if m is not None)


def selection_section(report: EvaluationReport) -> Markup:
    """Errors over the share answered, and the scores of both classes."""
    sets, accuracy = report.conformal, report.metric("accuracy")
    right = sets.accepted_accuracy.value
    error = 1 - accuracy.value if accuracy and accuracy.value is not None else 0.0
    deferred = (1 - sets.defer, 1 - right) if right is not None else None
    curve = drawing.risk_coverage(
        report.risk_coverage,
        error,
        deferred,
        f"Error rate over the share of images answered; {percent(error)} when all are answered",
    )
    wrong = f", with {percent(deferred[1])} of its answers wrong" if deferred else ""
    scores = drawing.histogram(
        {name: report.histogram.counts[name] for name in report.classes},
        "Histogram of P(roadwork) by true class",
    )
    return element(
        "section",
        element("h2", "Answering or deferring"),
        element(
            "p",
            "A model that knows when it may be wrong errs less when it answers only where it is "
            "sure. The rule in service: answer when the prediction set holds exactly one label and "
            "that label is the one decided on, the probability being above or below the "
            f"threshold. That leaves {percent(sets.defer)} to a person.",
        ),
        element(
            "div",
            figure(
                "Risk and coverage",
                curve,
                "Most confident images first. The diamond is the defer rule"
                f"{wrong}; it follows the prediction sets and need not lie on the curve.",
            ),
            figure(
                "Scores by class",
                scores,
                "The dashed line is the threshold 0.5. Bars on its wrong side are errors.",
            ),
            class_="charts",
        ),
        *defer_threshold(report.defer),
        id="selection",
    )


def promise_section(report: EvaluationReport) -> Markup:
    """What the prediction sets promised, and what they did."""
    sets = report.conformal
    rows = {name: sets.classes[name] for name in report.classes} | {"all": sets.marginal}
    chart = drawing.coverage_chart(rows, sets.target, "Coverage of the prediction sets")
    shares = {
        "one label, the one decided on (answered)": 1 - sets.defer,
        # Shares are cut to ten digits, so that their difference may fall below 0.
        "one label, another one (deferred)": max(0.0, sets.singleton + sets.defer - 1),
        "both labels (deferred)": sets.full,
        "no label (deferred)": sets.empty,
    }
    lines = [
        element("tr", element("th", name, scope="row"), element("td", percent(v), class_="num"))
        for name, v in shares.items()
    ]
    groups = (
        ""
        if sets.fitted_groups is None
        else f" The conformal images come from {sets.fitted_groups:,} groups."
    )
    names = {report.classes[0]: "coverage_negative", report.classes[1]: "coverage_positive"}
    covered = [
        _coverage(name, found, report.metric(names.get(name, "coverage")))
        for name, found in rows.items()
    ]
    return element(
        "section",
        element("h2", "Prediction sets"),
        element("p", sets.guarantee),
        element(
            "div",
            figure(
                f"Coverage on {report.test.n} test images",
                chart,
                "Dot and line: observed share and its exact 95 % interval. Shaded: where a kept "
                "promise falls in 95 % of cases, given how many images the thresholds were "
                "fitted on.",
            ),
            element(
                "div",
                element("h3", "What the sets hold"),
                table(["Set", "Share"], lines, (1,)),
                element(
                    "p", f"{sets.title}; promised share of misses: at most {sets.alpha:g}.{groups}"
                ),
                element(
                    "p",
                    "A set without a label says that no label is plausible enough. It is never "
                    "filled up: the image goes to a person.",
                ),
                element("p", sets.note, class_="soft small"),
            ),
            class_="charts",
        ),
        table(
            [
                "True class",
                "Covered",
                "Share",
                "Exact 95 % interval",
                "From resampled groups",
                "Conformal points",
            ],
            covered,
            range(1, 6),
        ),
        *_sizes(report),
        id="promise",
    )


def _sizes(report: EvaluationReport) -> Iterable[Markup]:
    """Coverage by size of the set, which shows whether the promise is kept by large sets alone."""
    sizes = report.conformal.sizes
    if not sizes:
        return
    mean = report.metric("mean_set_size")
    yield element("h3", "By size of the set")
    yield element(
        "p",
        "Nothing is promised by size: a set of every label always holds the true one, and one of "
        "none never does."
        + (f" Mean size: {number(mean.value)}." if mean and mean.value is not None else ""),
        class_="soft",
    )
    yield table(
        ["Labels", "Covered", "Share"],
        (
            element("tr", element("th", str(part.size), scope="row"), *_counted(part.coverage)[:2])
            for part in sizes
        ),
        (1, 2),
    )


def _coverage(name: str, found: Coverage, resampled: Metric | None) -> Markup:
    bounds = span(resampled.low, resampled.high, shares=True) if resampled else ""
    points = "not promised" if found.points is None else f"{found.points:,}"
    cells = (element("td", value, class_="num") for value in (bounds or DASH, points))
    return element("tr", element("th", name, scope="row"), *_counted(found), *cells)


def _counted(found: Coverage) -> list[Markup]:
    """Cells: hits and images, their share, and its exact interval."""
    values = (
        f"{found.covered:,} of {found.n:,}",
        percent(found.value),
        span(found.low, found.high, shares=True) or DASH,
    )
    return [element("td", value, class_="num") for value in values]
