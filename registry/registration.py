"""Registration: one run and one model version for one sealed bundle."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from registry.connection import Registry, as_default, registry_errors
from registry.provenance import code_tags
from registry.runs import MlflowTracker, flatten, log_figures, one_run
from registry.tags import (
    BUNDLE_HASH,
    CHAMPION_SCORES,
    CURVES,
    DATA_HASH,
    EXPOSURE,
    EXPOSURE_SUMMARY,
    FIGURES,
    RECALIBRATED_FROM,
    REPORT,
    REPORT_PAGE,
    SCORES,
    SETTINGS,
    TEST_HASH,
)
from registry.tracking import open_wandb, registry_of
from registry.weights_and_biases import require_wandb, wants_wandb
from roadwork import __version__
from roadwork.bundle import ModelBundle
from roadwork.evaluation.metrics import Metric
from roadwork.evaluation.record import EvaluationReport
from roadwork.pairing import TestScores
from roadwork.settings import Settings
from roadwork.training.curves import Curves

__all__ = ["register_bundle", "report_metrics"]

logger = logging.getLogger(__name__)


def register_bundle(
    bundle_path: Path,
    report: EvaluationReport,
    settings: Settings,
    *,
    run_name: str,
    data_hash: str,
    scores: TestScores | None = None,
    recalibrated: tuple[str, TestScores] | None = None,
    params: Mapping[str, str] | None = None,
    metrics: Mapping[str, float] | None = None,
    curves: Curves | None = None,
    pipeline_run: str | None = None,
    registry: Registry | None = None,
) -> str:
    """Register a sealed bundle as a new model version and let ``candidate`` point to it.

    The MLflow run that training opened for this run of the pipeline is completed; without one, a
    run is created. Weights & Biases receives a copy when ``track.wandb`` says so.

    Args:
        bundle_path: folder of the sealed bundle; verified first.
        report: its evaluation; the figures, the page and the JSON are kept with the run.
        settings: resolved settings of the run; every leaf becomes a parameter.
        run_name: name of the MLflow run.
        data_hash: content hash of the manifest.
        scores: answers on the test set; without them the bundle can never be compared with
            another on the same images.
        recalibrated: of a recalibration, the hash of the bundle whose network this one has, and
            what that bundle answered on the same test set: the gate compares the two by it.
        params: further parameters.
        metrics: further metrics, by full name.
        curves: learning curves; points that the run has already are not logged again.
        pipeline_run: identifier of the run of the pipeline.
        registry: where to; by default what the environment and the settings name.

    Returns:
        The version, as text.

    Raises:
        BundleError: the bundle is not intact.
        ConfigError: Weights & Biases is wanted, and its package is missing.
        RegistryError: MLflow refused; the run is then marked as failed, and no alias has moved.
    """
    require_wandb(settings.track)
    bundle = ModelBundle.open(bundle_path)
    registry = registry or registry_of(settings)
    tags = {
        BUNDLE_HASH: bundle.hash,
        DATA_HASH: data_hash,
        TEST_HASH: report.provenance.test_hash,
        **code_tags(),
    }
    if recalibrated is not None:
        tags[RECALIBRATED_FROM] = recalibrated[0]
    config = {**flatten(settings.model_dump(mode="json")), **(params or {})}
    figures = {**report_metrics(report), **(metrics or {})}
    curves = curves or Curves()
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder)
        answers = {SCORES: scores, CHAMPION_SCORES: recalibrated[1] if recalibrated else None}
        _write_files(files, bundle, report, settings, answers, curves)
        with (
            registry_errors(f"cannot register the {bundle.title}"),
            one_run(registry, run_name, tags, pipeline_run) as run,
        ):
            log_figures(registry, run, config, figures)
            MlflowTracker(registry, run).log(list(curves))
            registry.client.log_artifacts(run, folder)
            model_id = _log_model(registry, run, bundle)
            version = _create_version(registry, run, model_id, tags)
        if wants_wandb(settings.track):
            identity = pipeline_run or run
            _copy(settings, identity, run_name, {**config, **tags}, figures, curves, files)
    logger.info("%s is registered as %s version %s", bundle.title, registry.model_name, version)
    return version


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


def _write_files(
    folder: Path,
    bundle: ModelBundle,
    report: EvaluationReport,
    settings: Settings,
    answers: Mapping[str, TestScores | None],
    curves: Curves,
) -> None:
    """Write the files of a run into a folder."""
    import pyarrow.parquet as pq

    for name in (REPORT_PAGE, FIGURES, EXPOSURE):
        (folder / name).write_bytes(bundle.read(name))
    tree = settings.model_dump_json(indent=1)
    (folder / SETTINGS).write_text(tree + "\n", encoding="utf-8")
    (folder / REPORT).write_text(report.to_json(), encoding="utf-8")
    summary = json.dumps(bundle.exposure.counts(), indent=1, sort_keys=True)
    (folder / EXPOSURE_SUMMARY).write_text(summary + "\n", encoding="utf-8")
    pq.write_table(curves.to_table(), folder / CURVES)
    for name, scores in answers.items():
        if scores is not None:
            pq.write_table(scores.to_table(), folder / name)


def _copy(
    settings: Settings,
    identity: str,
    name: str,
    config: Mapping[str, str],
    figures: Mapping[str, float],
    curves: Curves,
    files: Path,
) -> None:
    """Complete the copy in Weights & Biases; the version is registered, whatever happens here."""
    try:
        run = open_wandb(settings, identity, name)
        try:
            run.log(list(curves))
            run.complete(config, figures, files, "evaluation")
        finally:
            run.close()
    except Exception as error:
        logger.warning("Weights & Biases did not take the whole run: %s", error)


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
