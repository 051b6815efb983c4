"""Sections of the report page that are charts: calibration, deferral, and the prediction sets."""

from __future__ import annotations

from roadwork.evaluation import drawing
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
        id="calibration",
    )


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
                element("p", f"{sets.title}; promised share of misses: at most {sets.alpha:g}."),
                element("p", sets.note, class_="soft small"),
            ),
            class_="charts",
        ),
        table(
            ["True class", "Covered", "Share", "Exact 95 % interval", "From resampled groups"],
            covered,
            range(1, 5),
        ),
        id="promise",
    )


def _coverage(name: str, found: Coverage, resampled: Metric | None) -> Markup:
    bounds = span(resampled.low, resampled.high, shares=True) if resampled else ""
    values = (
        f"{found.covered:,} of {found.n:,}",
        percent(found.value),
        span(found.low, found.high, shares=True) or DASH,
        bounds or DASH,
    )
    cells = (element("td", value, class_="num") for value in values)
    return element("tr", element("th", name, scope="row"), *cells)
