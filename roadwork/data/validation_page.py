"""The page of a validation: one HTML text that needs nothing from elsewhere.

Great Expectations renders results as a page of its own, but that page loads styles and scripts from
seven other hosts; its results are kept as JSON beside this one instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from roadwork.data.validation_charts import distribution_chart, prior_chart

if TYPE_CHECKING:
    from roadwork.data.leak_guard import LeakGuard
    from roadwork.data.profile import DataProfile
    from roadwork.data.validation_report import Check, ValidationReport

__all__ = ["render_validation"]

_STYLE = """
:root { color-scheme: light dark; --good: #1a7f37; --bad: #b42318; --odd: #8a5a00; --line: #8884;
  --bar: #4a7496; --ref: #c4540f; --soft: #5f5b54 }
@media (prefers-color-scheme: dark) { :root { --good: #4ac26b; --bad: #ff8177; --odd: #d4a72c;
  --bar: #8db6d6; --ref: #f0935a; --soft: #a8a297 } }
* { box-sizing: border-box }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem; margin-bottom: 0 } h2 { font-size: 1.15rem; margin: 2.2rem 0 .4rem }
h3 { font-size: .95rem; margin: 1.2rem 0 .2rem }
.verdict { font-size: 1.1rem } .note { color: var(--soft); font-size: .9rem; max-width: 46rem }
nav a { margin-right: .9rem; color: inherit; white-space: nowrap }
.wide { overflow-x: auto }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .35rem .8rem .35rem 0;
  border-bottom: 1px solid var(--line) }
td.text { overflow-wrap: anywhere; min-width: 12rem }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
.holds { color: var(--good) } .fails { color: var(--bad) } .broken { color: var(--odd) }
td.state { white-space: nowrap; font-weight: 600 }
summary { cursor: pointer; padding: .3rem 0 }
.charts { display: grid; gap: .6rem 1.2rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 13.5rem), 1fr)) }
figure { margin: 0 } figcaption { font-size: .85rem; color: var(--soft) }
svg { width: 100%; height: auto; display: block }
svg .bar { fill: var(--bar) } svg .ref { stroke: var(--ref); fill: none; stroke-width: 1.5 }
svg.wide-chart { max-width: 27rem }
ul.rows { margin: .2rem 0; padding-left: 1.1rem; max-height: 22rem; overflow-y: auto }
@media (max-width: 40rem) {
  table.checks thead { display: none } table.checks tr { border-bottom: 1px solid var(--line) }
  table.checks tr, table.checks td { display: block; border-bottom: 0; padding: .1rem 0 }
  table.checks td:empty { display: none } table.checks tr { padding: .4rem 0 } }
svg .axis { stroke: var(--line) } svg text { fill: currentColor; font: 11px system-ui, sans-serif }
svg .span { stroke: var(--bar); stroke-width: 2 } svg .dot { fill: var(--bar) }
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_HEAD = ("State", "Expectation", "Finding")
_TITLES = {
    "schema": "Schema",
    "vocabulary": "Vocabulary",
    "ranges": "Ranges",
    "leakage": "Leakage",
    "sources": "Sources",
    "": "Checks",
}


def render_validation(report: ValidationReport) -> str:
    """HTML of a report; every text that comes from data is escaped."""
    failed = [check for check in report.checks if not check.success]
    sections = list(dict.fromkeys(check.section for check in report.checks))
    parts = [
        _failures(failed),
        *(_section(name, [c for c in report.checks if c.section == name]) for name in sections),
        _part("sets", "Sets", _sets(report)),
        _part("images", "Images by source", _images(report.profile, report.reference)),
        _part("metadata", "What missing metadata tell", _guard(report.leak_guard)),
        _part("aside", "Set aside by ingest", _aside(report)),
    ]
    links = {name: _TITLES[name] for name in sections if name}
    links |= {"sets": "Sets", "images": "Images", "metadata": "Metadata", "aside": "Set aside"}
    nav = "".join(f'<a href="#{name}">{words}</a> ' for name, words in links.items())
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Validation of the data</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>Validation of the data</h1>
<p class="verdict">{_verdict(report, failed)}</p>
<nav>{nav}</nav>
{"".join(parts)}<p class="note">Checked by {escape(report.engine)} on the table of photographs.</p>
</body>
</html>
"""


def _verdict(report: ValidationReport, failed: list[Check]) -> str:
    if not failed:
        return f'<span class="holds">All {len(report.checks)} checks hold.</span>'
    leaks = any(check.leak and not check.broken for check in failed)
    what = "The sets leak into each other." if leaks else "The data cannot be used as it is."
    return (
        f'<span class="fails">{what}</span> {len(failed)} of {len(report.checks)} checks do '
        "not hold."
    )


def _part(name: str, title: str, body: str) -> str:
    return f'<h2 id="{name}">{title}</h2>\n{body}\n' if body else ""


def _failures(failed: list[Check]) -> str:
    if not failed:
        return ""
    rows = (_row(check, _finding(check)) for check in failed)
    return _part("failures", "What does not hold", _table(_HEAD, rows, kind="checks"))


def _section(name: str, checks: list[Check]) -> str:
    held = sum(check.success for check in checks)
    opening = "" if held == len(checks) and name else " open"
    body = (
        f"<details{opening}><summary>{held} of {len(checks)} checks hold</summary>\n"
        f"{_checks(checks)}</details>"
    )
    return _part(name or "checks", _TITLES[name], body)


def _checks(checks: list[Check]) -> str:
    rows = (_row(check, "" if check.success else "see above") for check in checks)
    return _table(_HEAD, rows, kind="checks")


def _row(check: Check, finding: str) -> str:
    state = "holds" if check.success else "broken" if check.broken else "fails"
    mark = {"holds": "✓ holds", "broken": "? broke", "fails": "✗ fails"}[state]
    return (
        f'<tr><td class="state {state}">{mark}</td><td class="text">{escape(check.title)}</td>'
        f'<td class="text">{finding}</td></tr>\n'
    )


def _finding(check: Check) -> str:
    if check.broken or not check.offenders:
        return escape(check.verdict)
    shown = "".join(f"<li>{escape(name)}</li>" for name in check.offenders)
    counted = escape(check.model_copy(update={"offenders": ()}).verdict)
    return f'{counted}<ul class="rows">{shown}</ul>'


def _sets(report: ValidationReport) -> str:
    rows = (
        f'<tr><td>{escape(role)}</td><td class="n">{counts.images}</td>'
        f'<td class="n">{counts.positives}</td><td class="n">{counts.groups}</td></tr>\n'
        for role, counts in report.counts.items()
    )
    return _table(["Set", "Images", "With roadwork", "Groups"], rows, {1, 2, 3})


def _images(profile: DataProfile | None, reference: DataProfile | None) -> str:
    if profile is None:
        return ""
    known = reference.sources if reference else {}
    parts = [f"<figure>{prior_chart(profile, reference)}</figure>"]
    note = "Bars count images; the line below them spans 99 % of the groups, with their median."
    if reference:
        note += " The outline and the second line are the reference."
    parts.append(f'<p class="note">{note}</p>')
    for name, source in profile.sources.items():
        sizes = ", ".join(f"{size} ({100 * share:.0f} %)" for size, share in source.sizes.items())
        parts.append(
            f"<h3>{escape(name)}</h3><p class='note'>{source.images} images in {source.groups} "
            f"groups; {100 * source.prior:.1f} % show roadwork; {escape(sizes)}</p>"
        )
        charts = (
            f"<figure><figcaption>{escape(statistic)}</figcaption>"
            + distribution_chart(
                statistic,
                found,
                known[name].statistics.get(statistic) if name in known else None,
                f"{statistic} of {name}",
            )
            + "</figure>"
            for statistic, found in source.statistics.items()
        )
        parts.append(f'<div class="charts">{"".join(charts)}</div>')
    return "\n".join(parts)


def _guard(guard: LeakGuard | None) -> str:
    if guard is None:
        return ""
    classes = list(next(iter(guard.null_shares.values())))
    rows = (
        f"<tr><td>{escape(column)}</td>"
        + "".join(f'<td class="n">{_share(shares[name])}</td>' for name in classes)
        + "</tr>\n"
        for column, shares in guard.null_shares.items()
    )
    head = ["Column", *(f"NULL of {name}" for name in classes)]
    return (
        f'<p class="note">A model is given pixels alone; these columns serve for slices. The '
        f"pattern of missing values alone would order the classes with an AUROC of "
        f"{_figure(guard.pooled)} over all images, and of {_figure(guard.within_source)} within "
        f"sources (0.5 tells nothing; works_size, which is known for roadwork alone, is not "
        f"counted).</p>" + _table(head, rows, set(range(1, len(head))))
    )


def _aside(report: ValidationReport) -> str:
    rows = [
        f"<tr><td>{escape(found.kind)}</td><td>{escape(found.reason.replace('_', ' '))}</td>"
        f'<td class="n">{found.count}</td><td class="text">{escape("; ".join(found.examples))}</td>'
        "</tr>\n"
        for found in report.aside
    ]
    return _table(["Kind", "Reason", "Files", "For example"], rows, {2}) if rows else "<p>None.</p>"


def _table(
    head: Sequence[str], rows: Iterable[str], numeric: Iterable[int] = (), kind: str = "figures"
) -> str:
    right = set(numeric)
    cells = "".join(
        f'<th class="n">{escape(words)}</th>' if index in right else f"<th>{escape(words)}</th>"
        for index, words in enumerate(head)
    )
    return (
        f'<div class="wide"><table class="{kind}"><thead><tr>{cells}</tr></thead>\n'
        f"<tbody>\n{''.join(rows)}</tbody></table></div>"
    )


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
