"""Names of the tags that roadwork puts on runs and model versions, and of the files of a run."""

from __future__ import annotations

__all__ = [
    "BUNDLE_HASH",
    "BUNDLE_PATH",
    "CHAMPION_SCORES",
    "CURVES",
    "DATA_HASH",
    "EXPOSURE",
    "EXPOSURE_SUMMARY",
    "FIGURES",
    "GATE",
    "GIT_COMMIT",
    "GIT_DIRTY",
    "LEDGER_HEAD",
    "LEDGER_LINE",
    "LOCK_HASH",
    "PIPELINE_RUN",
    "PROMOTED_BY",
    "PROMOTED_REASON",
    "RECALIBRATED_FROM",
    "REPORT",
    "REPORT_PAGE",
    "SCORES",
    "SETTINGS",
    "TEST_HASH",
]

BUNDLE_HASH = "roadwork.bundle_hash"
DATA_HASH = "roadwork.data_hash"
TEST_HASH = "roadwork.test_hash"
RECALIBRATED_FROM = "roadwork.recalibrated_from"
GIT_COMMIT = "roadwork.git_commit"
GIT_DIRTY = "roadwork.git_dirty"
LOCK_HASH = "roadwork.lock_hash"
PIPELINE_RUN = "roadwork.pipeline_run"
GATE = "roadwork.gate"
PROMOTED_BY = "roadwork.promoted_by"
PROMOTED_REASON = "roadwork.promoted_reason"
LEDGER_LINE = "roadwork.ledger_line"
LEDGER_HEAD = "roadwork.ledger_head"

REPORT = "report.json"
REPORT_PAGE = "report.html"
SCORES = "test_scores.parquet"
CHAMPION_SCORES = "champion_scores.parquet"
"""What the bundle that was recalibrated answered on the test set of its recalibration."""
FIGURES = "metrics.json"
SETTINGS = "settings.json"
CURVES = "curves.parquet"
EXPOSURE = "exposure.bin"
EXPOSURE_SUMMARY = "exposure.json"
BUNDLE_PATH = "artifacts/bundle"
"""Where MLflow's pyfunc layout puts a folder called ``bundle``."""
