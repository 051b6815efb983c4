"""Registration: one run and one model version for one sealed bundle."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from registry.connection import Registry, as_default, open_registry, registry_errors
from registry.tags import (
    BUNDLE_HASH,
    DATA_HASH,
    GIT_COMMIT,
    REPORT,
    REPORT_PAGE,
    SCORES,
)
from roadwork import __version__
from roadwork.bundle import ModelBundle
from roadwork.evaluation.metrics import Metric
from roadwork.evaluation.record import EvaluationReport
from roadwork.pairing import TestScores
from roadwork.settings import Settings

__all__ = ["flatten", "register_bundle", "report_metrics"]

logger = logging.getLogger(__name__)

_BATCH = 100  # MLflow takes at most 100 parameters in one call
_LONGEST = 500  # characters of a parameter that every store of MLflow accepts


def register_bundle(
    bundle_path: Path,
    report: EvaluationReport,
    settings: Settings,
    *,
    run_name: str,
    data_hash: str,
    scores: TestScores | None = None,
    params: Mapping[str, str] | None = None,
    metrics: Mapping[str, float] | None = None,
    registry: Registry | None = None,
) -> str:
    """Register a sealed bundle as a new model version and let ``candidate`` point to it.

    Args:
        bundle_path: folder of the sealed bundle; verified first.
        report: its evaluation; the figures, the page and the JSON are kept with the run.
        settings: resolved settings of the run; every leaf becomes a parameter.
        run_name: name of the MLflow run.
        data_hash: content hash of the manifest.
        scores: answers on the test set; without them the bundle can never be compared with
            another on the same images.
        params: further parameters.
        metrics: further metrics, by full name.
        registry: where to; by default what the environment and the settings name.

    Returns:
        The version, as text.

    Raises:
        BundleError: the bundle is not intact.
        RegistryError: MLflow refused; the run is then marked as failed, and no alias has moved.
    """
    bundle = ModelBundle.open(bundle_path)
    registry = registry or open_registry(
        runs=settings.runs,
        model_name=settings.register_.model_name,
        experiment=settings.register_.experiment,
    )
    tags = {BUNDLE_HASH: bundle.hash, DATA_HASH: data_hash, GIT_COMMIT: _git_commit()}
    with (
        registry_errors(f"cannot register the {bundle.title}"),
        _run(registry, run_name, tags) as run,
    ):
        _log_figures(
            registry,
            run,
            {**flatten(settings.model_dump(mode="json")), **(params or {})},
            {**report_metrics(report), **(metrics or {})},
        )
        _log_files(registry, run, bundle, report, scores)
        model_id = _log_model(registry, run, bundle)
        version = _create_version(registry, run, model_id, tags)
    logger.info("%s is registered as %s version %s", bundle.title, registry.model_name, version)
    return version


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Leaves of a tree by dotted key: ``{"a": {"b": 1}}`` gives ``{"a.b": "1"}``."""
    flat: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, list) and value and isinstance(value[0], Mapping):
            value = {str(number): item for number, item in enumerate(value)}
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value)
            flat[f"{prefix}{key}"] = text[:_LONGEST]
    return flat


def report_metrics(report: EvaluationReport) -> dict[str, float]:
    """Defined figures under names that stay: ``val_test/auroc``, ``val_test/auroc.low``, ….

    Rows other than the model have their key in the name: ``val_test.baseline/auroc``.
    """
    figures: dict[str, float | None] = {}
    for row in report.rows:
        place = "val_test" if row.key == "model" else f"val_test.{row.key}"
        for name, metric in row.metrics.items():
            figures |= {f"{place}/{key}": value for key, value in _figures(name, metric).items()}
    conformal = report.conformal
    figures["val_test/defer"] = conformal.defer
    for name, coverage in conformal.classes.items():
        figures[f"val_test/coverage.{name}"] = coverage.value
    return {name: value for name, value in figures.items() if value is not None}


def _figures(name: str, metric: Metric) -> dict[str, float | None]:
    return {name: metric.value, f"{name}.low": metric.low, f"{name}.high": metric.high}


@contextmanager
def _run(registry: Registry, name: str, tags: Mapping[str, str]) -> Iterator[str]:
    """An MLflow run that ends as FINISHED, or as FAILED when the block raises."""
    client = registry.client
    run = client.create_run(registry.experiment_id(), run_name=name, tags=dict(tags))
    try:
        yield run.info.run_id
    except BaseException:
        client.set_terminated(run.info.run_id, status="FAILED")
        raise
    client.set_terminated(run.info.run_id)


def _log_figures(
    registry: Registry, run: str, params: Mapping[str, str], metrics: Mapping[str, float]
) -> None:
    from mlflow.entities import Metric as MlflowMetric
    from mlflow.entities import Param

    now = int(time.time() * 1000)
    listed = [Param(key, value) for key, value in sorted(params.items())]
    for start in range(0, len(listed), _BATCH):
        registry.client.log_batch(run, params=listed[start : start + _BATCH])
    measured = [MlflowMetric(key, value, now, 0) for key, value in sorted(metrics.items())]
    for start in range(0, len(measured), _BATCH):
        registry.client.log_batch(run, metrics=measured[start : start + _BATCH])


def _log_files(
    registry: Registry,
    run: str,
    bundle: ModelBundle,
    report: EvaluationReport,
    scores: TestScores | None,
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder)
        for name in (REPORT_PAGE, "metrics.json", "settings.json"):
            (files / name).write_bytes(bundle.read(name))
        (files / REPORT).write_text(report.to_json(), encoding="utf-8")
        if scores is not None:
            import pyarrow.parquet as pq

            pq.write_table(scores.to_table(), files / SCORES)
        registry.client.log_artifacts(run, folder)


def _log_model(registry: Registry, run: str, bundle: ModelBundle) -> str:
    """Log the bundle as a pyfunc model from code; gives the identifier of the logged model."""
    import pandas as pd
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model

    with _quiet():
        from mlflow.pyfunc import save_model

    client = registry.client
    logged = client.create_logged_model(
        registry.experiment_id(), name=registry.model_name, source_run_id=run
    )
    described = Model(
        artifact_path=logged.artifact_location,
        model_uuid=logged.model_id,
        run_id=run,
        model_id=logged.model_id,
    )
    example = pd.DataFrame({"image": [bundle.read(bundle.golden().cases[0].file)]})
    parent = Path(tempfile.mkdtemp())
    try:
        # MLflow stores an artifact under the name of its folder, which must be the same for all.
        bundle.save(parent / "bundle")
        with _quiet():
            save_model(
                str(parent / "model"),
                mlflow_model=described,
                python_model=str(Path(__file__).with_name("pyfunc_model.py")),
                artifacts={"bundle": str(parent / "bundle")},
                signature=_signature(),
                input_example=example,
                pip_requirements=[f"roadwork[serve]=={__version__}"],
            )
        for cache in (parent / "model").rglob("__pycache__"):
            shutil.rmtree(cache)
        client.log_model_artifacts(logged.model_id, str(parent / "model"))
    except BaseException:
        client.finalize_logged_model(logged.model_id, "FAILED")
        raise
    finally:
        shutil.rmtree(parent, ignore_errors=True)
    client.finalize_logged_model(logged.model_id, "READY")
    client.log_outputs(run, [LoggedModelOutput(logged.model_id, 0)])
    return logged.model_id


def _signature() -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import Array

    return ModelSignature(
        inputs=Schema([ColSpec(DataType.binary, "image")]),
        outputs=Schema(
            [
                ColSpec(DataType.double, "probability"),
                ColSpec(DataType.string, "label"),
                ColSpec(Array(DataType.string), "prediction_set"),
                ColSpec(DataType.double, "coverage"),
                ColSpec(DataType.boolean, "defer"),
                ColSpec(DataType.long, "stage"),
                ColSpec(DataType.string, "model"),
                ColSpec(DataType.double, "latency_ms"),
            ]
        ),
    )


def _create_version(registry: Registry, run: str, model_id: str, tags: Mapping[str, str]) -> str:
    from mlflow.exceptions import MlflowException

    client, name = registry.client, registry.model_name
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    with as_default(registry):
        created = client.create_model_version(
            name, f"models:/{model_id}", run_id=run, tags=dict(tags), model_id=model_id
        )
    version = str(created.version)
    client.set_registered_model_alias(name, "candidate", version)
    return version


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide what MLflow says about its own type hints and about packages installed from source."""
    chosen = logging.getLogger("mlflow")
    before = chosen.level
    chosen.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        chosen.setLevel(before)


def _git_commit() -> str:
    """Commit of the checkout that this code lies in, or ``unknown``."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
