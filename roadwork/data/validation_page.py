"""The page of a validation: one HTML text that needs nothing from elsewhere."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from roadwork.data.validation import Check, ValidationReport

__all__ = ["render_validation"]

_STYLE = """
:root { color-scheme: light dark; --good: #1a7f37; --bad: #b42318; --odd: #9a6700; --line: #8884 }
@media (prefers-color-scheme: dark) { :root { --good: #4ac26b; --bad: #ff8177; --odd: #d4a72c } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem; margin-bottom: 0 } h2 { font-size: 1.15rem; margin-top: 2rem }
.verdict { font-size: 1.1rem } .note { opacity: .75 }
.wide { overflow-x: auto }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .35rem .8rem .35rem 0;
  border-bottom: 1px solid var(--line); overflow-wrap: anywhere }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums }
.holds { color: var(--good) } .fails { color: var(--bad) } .broken { color: var(--odd) }
td.state { white-space: nowrap; font-weight: 600 }
"""


def render_validation(report: ValidationReport) -> str:
    """HTML of a report; every text that comes from data is escaped."""
    failed = [check for check in report.checks if not check.success]
    leaks = [check for check in failed if check.leak and not check.broken]
    if not failed:
        verdict = f'<span class="holds">All {len(report.checks)} checks hold.</span>'
    else:
        what = "The sets leak into each other." if leaks else "The data cannot be used as it is."
        verdict = (
            f'<span class="fails">{what}</span> {len(failed)} of {len(report.checks)} checks do '
            "not hold."
        )
    ordered = [*failed, *(check for check in report.checks if check.success)]
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Validation of the data</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>Validation of the data</h1>
<p class="verdict">{verdict}</p>
<h2>Checks</h2>
<div class="wide"><table>
<thead><tr><th>State</th><th>Expectation</th><th>Finding</th></tr></thead>
<tbody>
{"".join(_row(check) for check in ordered)}</tbody>
</table></div>
<h2>Sets</h2>
<div class="wide"><table>
<thead><tr><th>Set</th><th class="n">Images</th><th class="n">With roadwork</th>\
<th class="n">Groups</th></tr></thead>
<tbody>
{_sets(report)}</tbody>
</table></div>
<h2>Set aside by ingest</h2>
{_aside(report)}
<p class="note">Checked by {escape(report.engine)} on the table of photographs.</p>
</body>
</html>
"""


def _row(check: Check) -> str:
    state = "holds" if check.success else "broken" if check.broken else "fails"
    mark = {"holds": "✓ holds", "broken": "? broke", "fails": "✗ fails"}[state]
    finding = "" if check.success else escape(check.verdict)
    return (
        f'<tr><td class="state {state}">{mark}</td><td>{escape(check.title)}</td>'
        f"<td>{finding}</td></tr>\n"
    )


def _sets(report: ValidationReport) -> str:
    return "".join(
        f'<tr><td>{escape(role)}</td><td class="n">{counts.images}</td>'
        f'<td class="n">{counts.positives}</td><td class="n">{counts.groups}</td></tr>\n'
        for role, counts in report.counts.items()
    )


def _aside(report: ValidationReport) -> str:
    reasons = {**report.quarantine, "exact copy of a kept image": report.exact_copies}
    rows = "".join(
        f'<tr><td>{escape(reason.replace("_", " "))}</td><td class="n">{count}</td></tr>\n'
        for reason, count in reasons.items()
        if count
    )
    if not rows:
        return "<p>Nothing.</p>"
    return (
        '<div class="wide"><table><thead><tr><th>Reason</th><th class="n">Files</th></tr></thead>\n'
        f"<tbody>\n{rows}</tbody></table></div>"
    )
