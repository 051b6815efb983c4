"""Step of an ablation: keep the table in MLflow."""

from __future__ import annotations

from typing import Annotated

from zenml import get_step_context, step

import materializers  # noqa: F401
from registry.ablations import register_ablation
from roadwork.ablation.record import AblationReport
from roadwork.data.manifest import Manifest
from roadwork.settings import Settings
from steps.caching import library_cache


@step(cache_policy=library_cache("registry.ablations", "roadwork.ablation.page"))
def ablate_register(
    report: AblationReport, manifest: Manifest, settings: Settings
) -> Annotated[str, "mlflow_run"]:
    """One run for the ablation, and below it one for each variant."""
    name = get_step_context().pipeline_run.name
    return register_ablation(report, settings, run_name=name, data_hash=manifest.content_hash)
