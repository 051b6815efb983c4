"""Step: judge the cascade against its second stage on the test set."""

from __future__ import annotations

import logging
from typing import Annotated

from zenml import step

import materializers  # noqa: F401
from roadwork.cascade.certified import CertifiedCascade
from roadwork.cascade.judge import evaluate_cascade as judge
from roadwork.cascade.record import CascadeReport
from roadwork.data.manifest import TestSet
from roadwork.pairing import TestScores
from roadwork.settings import Settings
from steps.caching import library_cache
from steps.folders import reports

logger = logging.getLogger(__name__)


@step(cache_policy=library_cache("roadwork.cascade", "roadwork.evaluation"))
def evaluate_cascade(
    certified: CertifiedCascade, test: TestSet, test_scores: TestScores, settings: Settings
) -> Annotated[CascadeReport, "cascade_report"]:
    """The record; its page also lies among the reports of the runs folder."""
    report = judge(certified, test, settings, test_scores)
    page = reports(settings) / f"{settings.name}-cascade.html"
    page.write_text(report.html, encoding="utf-8")
    page.with_suffix(".json").write_text(report.to_json(), encoding="utf-8")
    logger.info("report of the cascade: %s", page)
    return report
