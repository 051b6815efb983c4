"""Step of an ablation: write the page, and say what was chosen."""

from __future__ import annotations

import logging
from typing import Annotated

from zenml import step

import materializers  # noqa: F401
from roadwork.ablation.files import write_files
from roadwork.ablation.record import AblationReport
from roadwork.settings import Settings
from steps.folders import reports

logger = logging.getLogger(__name__)


@step(enable_cache=False)
def ablate_publish(report: AblationReport, settings: Settings) -> Annotated[str, "page"]:
    """Page, JSON, Parquet, Markdown and the winner's settings, in the folder of reports."""
    files = write_files(report, reports(settings), f"ablation-{report.name}")
    logger.info("%s\n%s", files.headline, files.snippet)
    logger.info("page: %s", files.page)
    return str(files.page)
