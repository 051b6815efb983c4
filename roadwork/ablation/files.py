"""The files of an ablation: the page, the record, one row a cell, Markdown, and the settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from roadwork.ablation.choice import settings_snippet
from roadwork.ablation.markdown import render_markdown
from roadwork.ablation.page import headline, render_page
from roadwork.ablation.record import AblationReport

__all__ = ["AblationFiles", "write_files"]


@dataclass(frozen=True)
class AblationFiles:
    """What was written.

    Attributes:
        page: the HTML page; beside it, under the same name, ``.json``, ``.parquet``, ``.md`` and
            ``.winner.yaml``.
        headline: what came out, in one sentence.
        snippet: the winner's settings; empty where every variant failed.
    """

    page: Path
    headline: str
    snippet: str


def write_files(report: AblationReport, folder: Path, stem: str) -> AblationFiles:
    """Write all five files, over those of an earlier ablation of this name."""
    page, snippet = folder / f"{stem}.html", settings_snippet(report)
    page.write_text(render_page(report), encoding="utf-8")
    page.with_suffix(".json").write_text(report.to_json(), encoding="utf-8")
    page.with_suffix(".md").write_text(render_markdown(report), encoding="utf-8")
    page.with_suffix(".winner.yaml").write_text(snippet, encoding="utf-8")
    pq.write_table(report.to_table(), page.with_suffix(".parquet"))
    return AblationFiles(page, headline(report), snippet)
