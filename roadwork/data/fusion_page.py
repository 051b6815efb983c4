"""The fusion report for people: tables for a terminal, and one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from roadwork.data.fusion_report import FusionReport

__all__ = ["render_page", "render_text"]

_PARTS: tuple[tuple[str, str], ...] = (
    ("kept", "kept"),
    ("duplicates", "copies"),
    ("quarantined", "in quarantine"),
    ("left_out", "left out on purpose"),
)
_REASONS = {
    "content": "equal bytes",
    "capture": "equal video, sequence and frame",
    "near": "look alike",
}
_STYLE = """
:root { color-scheme: light dark; --kept: #1a7f37; --duplicates: #3b76c4; --quarantined: #b42318;
  --left_out: #9a6700; --line: #8884 }
@media (prefers-color-scheme: dark) { :root { --kept: #4ac26b; --duplicates: #78aef5;
  --quarantined: #ff8177; --left_out: #d4a72c } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem; margin-bottom: 0 } h2 { font-size: 1.15rem; margin-top: 2rem }
.warning { border-left: 4px solid var(--quarantined); padding-left: .8rem }
.wide { overflow-x: auto }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .35rem .8rem .35rem 0;
  border-bottom: 1px solid var(--line); overflow-wrap: anywhere }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums }
td.bar { width: 75%; min-width: 8rem } svg { width: 100%; height: 1.1rem; display: block }
.kept { fill: var(--kept); color: var(--kept) }
.duplicates { fill: var(--duplicates); color: var(--duplicates) }
.quarantined { fill: var(--quarantined); color: var(--quarantined) }
.left_out { fill: var(--left_out); color: var(--left_out) }
"""

Row = Sequence[str | int]


def render_text(report: FusionReport) -> str:
    """Tables of a report in plain text."""
    sections = [_plain(header, rows) for _, header, rows in _tables(report)]
    return "\n\n".join([_summary(report), *sections, *_warned(report)])


def render_page(report: FusionReport) -> str:
    """HTML of a report; every text that comes from data is escaped."""
    warnings = "".join(f'<p class="warning">{escape(text)}</p>\n' for text in report.warnings)
    examples = "".join(f"<li>{escape(text)}</li>\n" for text in report.near_other_label_examples)
    if examples:
        examples = f"<h2>Look alike, labelled otherwise</h2>\n<ul>\n{examples}</ul>"
    tables = "".join(
        f"<h2>{escape(title)}</h2>\n{_table(header, rows)}"
        for title, header, rows in _tables(report)
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Fusion of the sources</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>Fusion of the sources</h1>
<p>{escape(_summary(report))}</p>
{warnings}<h2>Where the rows went</h2>
{_bars(report)}{tables}{examples}
</body>
</html>
"""


def _summary(report: FusionReport) -> str:
    merged = f"{report.groups_merged} of them merged, {report.groups_across_sources} across sources"
    return (
        f"{report.offered} rows offered, {report.kept} kept. {report.drives} drives became "
        f"{report.groups} groups ({merged})."
    )


def _warned(report: FusionReport) -> list[str]:
    return ["\n".join(f"warning: {text}" for text in report.warnings)] if report.warnings else []


def _tables(report: FusionReport) -> list[tuple[str, Row, list[Row]]]:
    """Title, header and rows of every table that has any."""
    sources: list[Row] = [
        (name, count.offered, *(getattr(count, part) for part, _ in _PARTS))
        for name, count in report.sources.items()
    ]
    copies: list[Row] = [
        (_REASONS.get(copy.reason, copy.reason), copy.source, copy.kept_source, copy.images)
        for copy in report.duplicates
    ]
    largest: list[Row] = [
        (group.group, group.images, f"{group.share:.1%}", group.drives)
        for group in report.largest_groups
    ]
    tables: list[tuple[str, Row, list[Row]]] = [
        ("Sources", ("source", "offered", *(title for _, title in _PARTS)), sources),
        ("Copies", ("reason", "source", "source of the row that stays", "images"), copies),
        ("Quarantine", ("quarantined for", "source", "rows"), _reasons(report.quarantined)),
        ("Left out on purpose", ("left out for", "source", "rows"), _reasons(report.left_out)),
        ("Largest groups", ("group", "images", "share", "drives"), largest),
    ]
    return [table for table in tables if table[2]]


def _reasons(counts: dict[str, dict[str, int]]) -> list[Row]:
    return [
        (reason.replace("_", " "), source, rows)
        for reason, by_source in counts.items()
        for source, rows in by_source.items()
    ]


def _plain(header: Row, rows: list[Row]) -> str:
    cells = [[str(value) for value in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    numeric = [all(_is_number(value) for value in column) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(line, widths, numeric, strict=True)
        ).rstrip()
        for line in cells
    ]
    return "\n".join(lines)


def _table(header: Row, rows: list[Row]) -> str:
    numeric = [all(_is_number(value) for value in column) for column in zip(*rows, strict=True)]
    kinds = [' class="n"' if right else "" for right in numeric]
    head = "".join(
        f"<th{kind}>{escape(str(text))}</th>" for kind, text in zip(kinds, header, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{kind}>{escape(str(value))}</td>" for kind, value in zip(kinds, row, strict=True)
        )
        + "</tr>\n"
        for row in rows
    )
    return (
        f'<div class="wide"><table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table>'
        "</div>\n"
    )


def _is_number(value: str | int) -> bool:
    return isinstance(value, int) or value.endswith("%")


def _bars(report: FusionReport) -> str:
    """One bar a source, cut by what became of its rows; as long as its share of all rows."""
    most = max((count.offered for count in report.sources.values()), default=1)
    rows = []
    for name, count in report.sources.items():
        start, parts, said = 0.0, [], []
        for part, title in _PARTS:
            images = getattr(count, part)
            length = 100 * images / most
            if images:
                parts.append(
                    f'<rect class="{part}" x="{start:.3f}" y="0" width="{length:.3f}" height="10"/>'
                )
                said.append(f"{images} {title}")
            start += length
        label = escape(f"{name}: {', '.join(said)}")
        drawing = (
            f'<svg viewBox="0 0 100 10" preserveAspectRatio="none" role="img" aria-label="{label}">'
            f"<title>{label}</title>{''.join(parts)}</svg>"
        )
        rows.append(f'<tr><td>{escape(name)}</td><td class="bar">{drawing}</td></tr>\n')
    legend = ", ".join(f'<span class="{part}">■</span> {title}' for part, title in _PARTS)
    body = "".join(rows)
    return f'<div class="wide"><table><tbody>\n{body}</tbody></table></div>\n<p>{legend}</p>\n'
