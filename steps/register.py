"""Step: register the bundle in MLflow under the alias ``candidate``."""

from __future__ import annotations

from typing import Annotated, Any

from zenml import get_step_context, log_metadata, step

import materializers  # noqa: F401
from registry import register_bundle
from registry.training_facts import TrainingFacts
from roadwork.bundle import ModelBundle
from roadwork.cascade.record import CascadeReport
from roadwork.data.manifest import Manifest
from roadwork.evaluation.record import EvaluationReport
from roadwork.pairing import TestScores
from roadwork.settings import Settings
from steps.caching import library_cache
from steps.tracking import seconds_by_step


@step(cache_policy=library_cache("registry"))
def register(
    bundle: ModelBundle,
    report: EvaluationReport,
    test_scores: TestScores,
    manifest: Manifest,
    set_hashes: dict[str, str],
    pretrain_history: dict[str, Any],
    history: dict[str, Any],
    settings: Settings,
    cascade_history: dict[str, Any] | None = None,
    cascade_report: CascadeReport | None = None,
) -> Annotated[str, "model_version"]:
    """One MLflow run and one model version; the version is linked to ZenML's own model."""
    run = get_step_context().pipeline_run
    facts = TrainingFacts.of(
        {"pretrain": pretrain_history, "finetune": history, "cascade": cascade_history or {}},
        hashes=set_hashes,
        seconds=seconds_by_step(),
        cascade=cascade_report.figures if cascade_report else None,
    )
    version = register_bundle(
        bundle.path,
        report,
        settings,
        run_name=run.name,
        data_hash=manifest.content_hash,
        scores=test_scores,
        params=facts.params,
        metrics=facts.metrics,
        curves=facts.curves,
        pipeline_run=str(run.id),
    )
    log_metadata(metadata={"mlflow_version": version, "bundle_hash": bundle.hash}, infer_model=True)
    return version
