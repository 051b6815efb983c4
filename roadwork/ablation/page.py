"""The page of an ablation: one self-contained HTML document."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from roadwork.ablation.choice import judged_on, settings_snippet, standing
from roadwork.ablation.comparison import METRICS_SHOWN, Difference
from roadwork.ablation.markdown import difference_words, passes, seeded_words
from roadwork.ablation.plot import difference_plot
from roadwork.ablation.record import AblationReport, Effect, VariantRow
from roadwork.evaluation.markup import Markup, element, join
from roadwork.evaluation.metrics import METRICS
from roadwork.evaluation.page import document
from roadwork.evaluation.sections import table
from roadwork.evaluation.verdict import DASH, FEW_GROUPS, SYNTHETIC, number, percent, span
from roadwork.pairing import LEAST_GROUPS

__all__ = ["headline", "render_page"]

_TONES = {"better": "pass", "worse": "fail"}
_WIDE = "min-width: 7em"


def render_page(report: AblationReport) -> str:
    """Draw the record; equal records give equal pages."""
    body = element(
        "body",
        element("header", *_opening(report)),
        element(
            "main",
            _plots(report),
            _variants(report),
            *([_effects(report)] if report.effects else []),
            _choice(report),
            _reading(report),
        ),
        element(
            "footer",
            element(
                "p",
                f"roadwork {report.code_version}, grid {report.grid_hash}; "
                f"{report.resamples:,} resamples of whole groups.",
            ),
        ),
    )
    return document(f"roadwork ablation: {report.name}", body)


def headline(report: AblationReport) -> str:
    """What came out, in one sentence."""
    if report.winner is None:
        return "Every variant failed"
    if report.variants[report.baseline].failures:
        return "The baseline failed, so that nothing can be compared with it"
    if len(report.variants) == 1:
        return "There is one variant, and nothing to compare it with"
    says = Counter(
        found.says
        for row in report.variants
        if (found := row.differences.get(report.metric)) is not None
    )
    rivals = says.total()
    if not rivals:
        return "Every other variant failed, so that nothing can be compared with the baseline"
    failed = sum(bool(row.failures) for row in report.variants)
    return f"{_told(says, rivals)}{f'; {failed} failed' if failed else ''}"


def _told(says: Counter[str | None], rivals: int) -> str:
    """How many of those that can be compared with the baseline can be told from it."""
    if rivals == 1:
        clear = next((kind for kind in ("better", "worse") if says[kind]), None)
        what = f"is {clear} than" if clear else "cannot be told from"
        return f"The one variant to compare {what} the baseline"
    if not says["better"] and not says["worse"]:
        return f"None of {rivals} variants can be told from the baseline"
    better, worse = (
        f"{says[kind] or 'none'} {'is' if says[kind] < 2 else 'are'} {kind}"
        for kind in ("better", "worse")
    )
    return f"Of {rivals} variants {better} than the baseline, and {worse}"


def _opening(report: AblationReport) -> Iterable[Markup]:
    yield element("p", f"Ablation · {report.name}", class_="kicker")
    yield element("h1", headline(report))
    if report.synthetic:
        yield element("p", element("b", "Generated scenes. "), SYNTHETIC, class_="banner")
    found: list[tuple[str, str]] = []
    if report.winner is not None:
        best = report.variants[report.winner]
        clear = report.winner != report.baseline and "is better" in standing(report, best)
        found.append(
            (
                "good" if clear else "unclear",
                f"The best mean {report.metric.upper()} has “{best.name}”, which "
                f"{standing(report, best)}. The best of {len(report.variants)} looks better than "
                "it is; only a run judged once on VAL_TEST says how good it is.",
            )
        )
    if report.folds is None:
        found.append(
            (
                "unclear",
                "The VAL_SELECT that judges here has also chosen each run's pass and temperature, "
                "so that all figures are somewhat too good. Set folds for a cross-validation in "
                "which it has not.",
            )
        )
    failed = sum(bool(row.failures) for row in report.variants)
    if failed:
        found.append(("bad", f"{failed} of {len(report.variants)} variants failed; see the table."))
    if 0 < report.groups < LEAST_GROUPS:
        words = f"from fewer than {LEAST_GROUPS} nothing can be told"
    else:
        words = f"with fewer than {FEW_GROUPS} the intervals are too narrow"
    if 0 < report.groups < FEW_GROUPS:
        found.append(("unclear", f"{report.groups} groups are few: {words}."))
    yield element(
        "ul", *(element("li", words, class_=tone) for tone, words in found), class_="findings"
    )


def _plots(report: AblationReport) -> Markup:
    parts: list[Markup] = []
    order = [report.metric, *(name for name in METRICS_SHOWN if name != report.metric)]
    for name in order:
        rows = {
            row.name: row.differences[name] for row in report.variants if name in row.differences
        }
        if rows:
            higher = bool(METRICS[name].higher_is_better)
            chart = difference_plot(rows, name.upper(), higher)
            parts.append(element("figure", chart) if name == report.metric else chart)
    if not parts:
        parts = [element("p", "No variant could be compared with the baseline.", class_="soft")]
    first, *others = parts
    more = [element("summary", "The other metrics"), *others]
    return element(
        "section",
        element("h2", "Differences to the baseline"),
        element("p", f"Baseline: {report.variants[report.baseline].name}.", class_="soft"),
        first,
        element(
            "p",
            "Dots are means over the seeds, lines 95 % intervals over resampled groups, ticks the "
            "single seeds.",
            class_="soft small",
        ),
        *([element("details", *more)] if others else []),
        id="differences",
    )


def _variants(report: AblationReport) -> Markup:
    head = ["Variant", *(_titled(name) for name in METRICS_SHOWN), "p (Holm)", "Verdict"]
    rows = [_variant(report, place, row) for place, row in enumerate(report.variants)]
    return element(
        "section",
        element("h2", "Variants"),
        element(
            "p",
            f"{report.images:,} images of {report.groups} groups judge ({judged_on(report)}; "
            f"{percent(report.roadwork)} show roadwork), with {len(report.seeds)} seeds each: "
            "mean ± standard deviation over the seeds, and below it the difference to the baseline "
            f"with its 95 % interval. {report.metric.upper()} decides.",
        ),
        table(head, rows, (1, 2, 3, 4)),
        element("h3", "What they cost"),
        table(
            ["Variant", "Weights trained", "Views", "Seconds a cell", "Pass chosen"],
            [_cost(row) for row in report.variants if not row.failures],
            (1, 2, 3, 4),
        ),
        id="variants",
    )


def _variant(report: AblationReport, place: int, row: VariantRow) -> Markup:
    tags = [element("span", "baseline", class_="tag")] if place == report.baseline else []
    also = [element("span", f"also: {name}", class_="span") for name in row.also]
    name = element("th", row.name, *tags, *also, scope="row", class_="wrap")
    if row.failures:
        words = f"failed: {'; '.join(row.failures)}"
        return element("tr", name, element("td", words, colspan=5, class_="fail wrap"))
    cells = []
    for metric in METRICS_SHOWN:
        found = row.metrics[metric]
        below = difference_words(row.differences.get(metric)) if row.differences else ""
        below = found.reason or below if found.mean is None else below
        cells.append(
            element("td", seeded_words(found), element("span", below, class_="span"), class_="num")
        )
    return element(
        "tr",
        name,
        *cells,
        *_verdict(row.differences.get(report.metric)),
    )


def _cost(row: VariantRow) -> Markup:
    values = (
        DASH if row.trained is None else f"{row.trained:,}",
        str(row.views),
        f"{row.seconds:.0f}",
        passes(row),
    )
    cells = (element("td", value, class_="num") for value in values)
    return element("tr", element("th", row.name, scope="row", class_="wrap"), *cells)


def _verdict(found: Difference | None) -> list[Markup]:
    if found is None:
        return [element("td", DASH, class_="num"), element("td", DASH)]
    words = found.says or DASH
    why = [element("span", found.reason, class_="span")] if found.reason else []
    return [
        element("td", number(found.adjusted), class_="num"),
        element("td", element("span", words, class_=_TONES.get(words)), *why, style=_WIDE),
    ]


def _effects(report: AblationReport) -> Markup:
    head = ["Axis and value", "Instead of", "Pairs", *(_titled(name) for name in METRICS_SHOWN)]
    rows: list[Markup] = []
    for axis in report.axes:
        mine = [effect for effect in report.effects if effect.axis == axis.key]
        if mine:
            title = element("th", axis.key, colspan=8, scope="rowgroup")
            rows.append(element("tr", title, class_="group"))
            rows += [_effect(report, effect) for effect in mine]
    return element(
        "section",
        element("h2", "What each axis does"),
        element(
            "p",
            "The mean difference between variants that differ in this axis alone, over the values "
            "of the other axes. Where axes work together, the mean hides it: see the table above.",
        ),
        table([*head, "p (Holm)", "Verdict"], rows, (2, 3, 4, 5, 6)),
        id="effects",
    )


def _effect(report: AblationReport, effect: Effect) -> Markup:
    cells = [_contrast(effect.differences.get(name)) for name in METRICS_SHOWN]
    return element(
        "tr",
        element("th", effect.value, scope="row"),
        element("td", effect.reference),
        element("td", str(effect.pairs), class_="num"),
        *cells,
        *_verdict(effect.differences.get(report.metric)),
    )


def _contrast(found: Difference | None) -> Markup:
    if found is None or found.value is None:
        return element("td", DASH, class_="num")
    below = element("span", span(found.low, found.high), class_="span")
    return element("td", number(found.value, signed=True), below, class_="num")


def _choice(report: AblationReport) -> Markup:
    snippet = settings_snippet(report)
    return element(
        "section",
        element("h2", "The winner, to paste into the settings"),
        element("pre", element("code", snippet or "Every variant failed.")),
        id="choice",
    )


def _reading(report: AblationReport) -> Markup:
    facts = {
        "NLL": "Negative log-likelihood in nats after the best temperature, which is fitted on the "
        "images that chose the pass. Lower is better.",
        "MCC": "Matthews correlation at probability 0.5 after that temperature.",
        "Interval": "Whole groups are drawn again, the same for all variants; the metric is the "
        "mean over the seeds. It says how other drives could change the difference, with these "
        "trained models. What training again would change is seen in the seeds alone.",
        "Verdict": "Better or worse: p after Holm's adjustment over all rows of the table is at "
        "most 0.05, and every seed's own difference has the same sign. Everything else cannot be "
        "told; that is not the same as no difference. The two tables are adjusted apart.",
        "Pass chosen": "One figure for every seed (and fold); 0 is the probe: no pass of "
        "fine-tuning was better than logistic regression on frozen features.",
        "Seconds": "Fine-tuning and scoring of one cell where it ran, beside whatever else ran "
        "there; without pretraining.",
    }
    listed = [join(element("dt", name), element("dd", words)) for name, words in facts.items()]
    return element(
        "section", element("h2", "How to read this"), element("dl", *listed, class_="plain")
    )


def _titled(name: str) -> str:
    arrow = "↑" if METRICS[name].higher_is_better else "↓"
    return f"{name.upper()} {arrow}"
