"""Step of a recalibration: register the new bundle in MLflow under the alias ``candidate``."""

from __future__ import annotations

from typing import Annotated

from zenml import get_step_context, log_metadata, step

import materializers  # noqa: F401
from registry import register_bundle
from roadwork.bundle import ModelBundle
from roadwork.data.manifest import Manifest
from roadwork.evaluation.record import EvaluationReport
from roadwork.pairing import TestScores
from roadwork.settings import Settings
from steps.caching import library_cache
from steps.tracking import seconds_by_step


@step(cache_policy=library_cache("registry"))
def recalibrate_register(
    bundle: ModelBundle,
    report: EvaluationReport,
    test_scores: TestScores,
    champion: ModelBundle,
    champion_scores: TestScores,
    manifest: Manifest,
    set_hashes: dict[str, str],
    settings: Settings,
) -> Annotated[str, "model_version"]:
    """One MLflow run and one model version, with what the champion answers on the same images."""
    run = get_step_context().pipeline_run
    version = register_bundle(
        bundle.path,
        report,
        settings,
        run_name=run.name,
        data_hash=manifest.content_hash,
        scores=test_scores,
        recalibrated=(champion.hash, champion_scores),
        params={f"data.hash.{role}": value for role, value in set_hashes.items()},
        metrics={f"seconds/{name}": value for name, value in seconds_by_step().items()},
        pipeline_run=str(run.id),
    )
    log_metadata(metadata={"mlflow_version": version, "bundle_hash": bundle.hash}, infer_model=True)
    return version
