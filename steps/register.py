"""Step: register the bundle in MLflow under the alias ``candidate``."""

from __future__ import annotations

from typing import Annotated, Any

from zenml import get_step_context, log_metadata, step

import materializers  # noqa: F401
from registry import register_bundle
from roadwork.bundle import ModelBundle
from roadwork.data.manifest import Manifest
from roadwork.evaluation.record import EvaluationReport
from roadwork.pairing import TestScores
from roadwork.settings import Settings
from steps.caching import library_cache


@step(cache_policy=library_cache("registry"))
def register(
    bundle: ModelBundle,
    report: EvaluationReport,
    test_scores: TestScores,
    manifest: Manifest,
    history: dict[str, Any],
    settings: Settings,
) -> Annotated[str, "model_version"]:
    """One MLflow run and one model version; the version is linked to ZenML's own model."""
    version = register_bundle(
        bundle.path,
        report,
        settings,
        run_name=get_step_context().pipeline_run.name,
        data_hash=manifest.content_hash,
        scores=test_scores,
        metrics={
            "finetune/best_epoch": history["best_epoch"],
            "finetune/select_nll": min(history["select_nll"]),
        },
    )
    log_metadata(metadata={"mlflow_version": version, "bundle_hash": bundle.hash}, infer_model=True)
    return version
