"""The table of an ablation as Markdown, for logs and pull requests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from roadwork.ablation.choice import judged_on, settings_snippet
from roadwork.ablation.comparison import METRICS_SHOWN, Difference, Seeded
from roadwork.ablation.record import AblationReport, Effect, VariantRow
from roadwork.evaluation.verdict import DASH, SYNTHETIC, number, span

__all__ = ["difference_words", "passes", "render_markdown", "seeded_words"]

_SAID = ("p (Holm)", "verdict")


def seeded_words(found: Seeded | None) -> str:
    """Mean and spread over seeds, such as "0.912 ± 0.004"."""
    if found is None or found.mean is None:
        return DASH
    spread = f" ± {number(found.spread)}" if found.spread is not None else ""
    return f"{number(found.mean)}{spread}"


def difference_words(found: Difference | None) -> str:
    """A difference and its interval, such as "+0.012 (0.003 to 0.021)"."""
    if found is None or found.value is None:
        return DASH
    bounds = span(found.low, found.high)
    return number(found.value, signed=True) + (f" ({bounds})" if bounds else "")


def passes(row: VariantRow) -> str:
    """Which pass was chosen in every cell, in order; 0 is the probe."""
    chosen = [cell.best_epoch for cell in row.cells]
    return " ".join(DASH if epoch is None else str(epoch) for epoch in chosen)


def render_markdown(report: AblationReport) -> str:
    """Both tables and the chosen settings."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: AblationReport) -> Iterator[str]:
    deciding = report.metric.upper()
    yield f"# Ablation: {report.name}"
    yield ""
    if report.synthetic:
        yield f"**Generated scenes.** {SYNTHETIC}"
        yield ""
    yield (
        f"{len(report.variants)} variants, seeds {', '.join(map(str, report.seeds))}; "
        f"{report.images} images of {report.groups} groups ({judged_on(report)}). Mean ± standard "
        f"deviation over seeds; differences to the baseline with 95 % intervals over resampled "
        f"groups; {deciding} decides, adjusted after Holm."
    )
    yield ""
    titles = [name.upper() for name in METRICS_SHOWN]
    head = ["variant", *titles, f"Δ {deciding}", *_SAID]
    yield from _table(
        [*head, "pass", "trained", "views", "seconds"],
        [_row(report, place, row) for place, row in enumerate(report.variants)],
    )
    if report.effects:
        yield ""
        yield "Main effects: mean paired difference over the other axes."
        yield ""
        head = ["axis", "value", "instead of", "pairs", *(f"Δ {title}" for title in titles)]
        yield from _table([*head, *_SAID], [_effect(report, effect) for effect in report.effects])
    snippet = settings_snippet(report)
    if snippet:
        yield from ("", "```yaml", snippet.rstrip(), "```")


def _row(report: AblationReport, place: int, row: VariantRow) -> list[str]:
    name = f"**{row.name}** (baseline)" if place == report.baseline else row.name
    if row.failures:
        return [name, *[DASH] * 5, f"failed: {'; '.join(row.failures)}", *[DASH] * 4]
    found = row.differences.get(report.metric)
    return [
        name,
        *(seeded_words(row.metrics.get(metric)) for metric in METRICS_SHOWN),
        difference_words(found),
        *_said(found),
        passes(row),
        f"{row.trained:,}" if row.trained is not None else DASH,
        str(row.views),
        f"{row.seconds:.0f}",
    ]


def _effect(report: AblationReport, effect: Effect) -> list[str]:
    return [
        effect.axis,
        effect.value,
        effect.reference,
        str(effect.pairs),
        *(difference_words(effect.differences.get(name)) for name in METRICS_SHOWN),
        *_said(effect.differences.get(report.metric)),
    ]


def _said(found: Difference | None) -> list[str]:
    if found is None:
        return [DASH, DASH]
    words = found.says or DASH
    return [number(found.adjusted), f"{words} ({found.reason})" if found.reason else words]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for cells in (head, ["---"] * len(head), *rows):
        clean = (" ".join(cell.replace("|", "\\|").split()) for cell in cells)
        yield f"| {' | '.join(clean)} |"
