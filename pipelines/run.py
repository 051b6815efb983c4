"""Run the training pipeline from Python and write down where its results are."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roadwork.environment import silence_telemetry
from roadwork.errors import RoadworkError
from roadwork.settings import load_settings

if TYPE_CHECKING:
    from zenml.models import PipelineRunResponse

    from roadwork.evaluation.record import EvaluationReport

__all__ = ["run_training"]

SHOWN = (
    "auroc",
    "within_group_auroc",
    "mcc",
    "f1",
    "accuracy",
    "brier",
    "ece_positive",
    "coverage",
    "singleton_share",
)


def run_training(config: Path | None = None) -> Path:
    """Run the pipeline on the active stack and wait for it.

    Args:
        config: settings as YAML; the demo when None.

    Returns:
        ``last_run.json`` in the runs folder: report, bundle, version, alias, gate, metrics with
        intervals and those of the baseline, seconds, and the steps that came from the cache.

    Raises:
        ConfigError: the settings are wrong.
        RoadworkError: the run did not complete.
    """
    silence_telemetry()
    from pipelines.training import resolved_settings, training_pipeline

    tree = load_settings(config).model_dump(mode="json", exclude_unset=True)
    settings = resolved_settings(tree)
    assert settings.runs is not None
    start = time.monotonic()
    run = training_pipeline(settings=tree)
    if run is None or str(run.status) != "completed":
        status = "not started" if run is None else run.status
        raise RoadworkError(f"the pipeline run is {status}: see the messages above")
    summary = _summary(run, settings.runs)
    summary["seconds"] = round(time.monotonic() - start, 1)
    target = settings.runs / "last_run.json"
    target.write_text(json.dumps(summary, indent=1), encoding="utf-8")
    return target


def _summary(run: PipelineRunResponse, runs: Path) -> dict[str, Any]:
    steps = run.steps
    report: EvaluationReport = steps["promote"].outputs["final_report"][0].load()
    verdict = steps["promote"].outputs["verdict"][0].load()
    version = steps["register"].outputs["model_version"][0].load()
    bundles = {path: path.stat().st_mtime for path in (runs / "bundles").glob(f"{report.name}-*")}
    bundle = max(bundles, key=lambda path: bundles[path], default=None)
    return {
        "run": run.name,
        "synthetic": report.synthetic,
        "report": str(runs / "reports" / f"{report.name}-{version}.html"),
        "bundle": str(bundle) if bundle else None,
        "version": version,
        "alias": "champion" if verdict.passed else "candidate",
        "gate": [check.model_dump() for check in verdict.checks],
        "bento": steps["deploy"].outputs["bento"][0].load(),
        "metrics": {name: _figures(report, name) for name in SHOWN},
        "cached_steps": [name for name, step in steps.items() if str(step.status) == "cached"],
    }


def _figures(report: EvaluationReport, name: str) -> dict[str, Any]:
    metric, simple = report.metric(name), report.metric(name, "baseline")
    return {
        "value": metric.value if metric else None,
        "low": metric.low if metric else None,
        "high": metric.high if metric else None,
        "baseline": simple.value if simple else None,
    }
