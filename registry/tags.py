"""Names of the tags that roadwork puts on model versions, and of the files of a run."""

from __future__ import annotations

__all__ = [
    "BUNDLE_HASH",
    "BUNDLE_PATH",
    "DATA_HASH",
    "GATE",
    "GIT_COMMIT",
    "LEDGER_HEAD",
    "LEDGER_LINE",
    "PROMOTED_BY",
    "PROMOTED_REASON",
    "REPORT",
    "REPORT_PAGE",
    "SCORES",
]

BUNDLE_HASH = "roadwork.bundle_hash"
DATA_HASH = "roadwork.data_hash"
GIT_COMMIT = "roadwork.git_commit"
GATE = "roadwork.gate"
PROMOTED_BY = "roadwork.promoted_by"
PROMOTED_REASON = "roadwork.promoted_reason"
LEDGER_LINE = "roadwork.ledger_line"
LEDGER_HEAD = "roadwork.ledger_head"

REPORT = "report.json"
REPORT_PAGE = "report.html"
SCORES = "test_scores.parquet"
BUNDLE_PATH = "artifacts/bundle"
"""Where MLflow's pyfunc layout puts a folder called ``bundle``."""
