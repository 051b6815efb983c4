"""Step: let the candidate become champion if the evidence supports it."""

from __future__ import annotations

import logging
from typing import Annotated

from zenml import step

import materializers  # noqa: F401
from registry import collect_evidence, open_registry
from registry import promote as move_alias
from roadwork.errors import GateFailed
from roadwork.evaluation.record import EvaluationReport
from roadwork.evaluation.report import render_html
from roadwork.promotion import Verdict, decide
from roadwork.settings import Settings
from steps.folders import reports

logger = logging.getLogger(__name__)


@step(enable_cache=False)
def promote(
    model_version: str, report: EvaluationReport, settings: Settings
) -> tuple[Annotated[Verdict, "verdict"], Annotated[EvaluationReport, "final_report"]]:
    """A refused candidate stays candidate; the verdict and its reasons are kept either way."""
    registry = open_registry(
        runs=settings.runs,
        model_name=settings.register_.model_name,
        experiment=settings.register_.experiment,
    )
    evidence = collect_evidence(registry, model_version, settings.promote)
    verdict = decide(evidence)
    try:
        move_alias(
            model_version,
            actor="training_pipeline",
            reason=f"run {settings.name}",
            evidence=evidence,
            registry=registry,
        )
    except GateFailed as refusal:
        logger.warning("%s", refusal)
    report = report.with_gates(verdict.checks)
    page = reports(settings) / f"{settings.name}-{model_version}.html"
    page.write_text(render_html(report), encoding="utf-8")
    page.with_suffix(".json").write_text(report.to_json(), encoding="utf-8")
    page.with_suffix(".metrics.json").write_bytes(report.metrics_json())
    logger.info("report: %s", page)
    return verdict, report
