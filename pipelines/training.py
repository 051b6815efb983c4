"""The training pipeline: from photographs to a served champion."""

from __future__ import annotations

import atexit
import logging
from pathlib import Path
from typing import Any

from click import ClickException
from zenml import Model, pipeline

from registry.weights_and_biases import require_wandb
from roadwork.cascade.stages import require_tiles
from roadwork.data.profile import profile_fingerprint
from roadwork.data.sources import fingerprint_of
from roadwork.environment import silence_telemetry
from roadwork.errors import ConfigError, DataError
from roadwork.settings import Settings, parse_settings, resolve
from steps.calibrate import calibrate
from steps.cascade import cascade
from steps.conformal import conformal
from steps.defer import defer
from steps.deploy import deploy
from steps.evaluate import evaluate
from steps.evaluate_cascade import evaluate_cascade
from steps.exits import exits
from steps.export import export
from steps.finetune import finetune
from steps.ingest import ingest
from steps.pretrain import pretrain
from steps.promote import promote
from steps.register import register
from steps.shard import shard
from steps.split_validate import split_validate
from steps.tracking import RUN, end_as_failed

__all__ = ["resolved_settings", "training_pipeline"]

silence_telemetry()
# ZenML's log handler starts a thread when logging shuts down, which Python 3.12 refuses with a
# traceback after all work is done. This runs before that and lets logging end in silence.
atexit.register(setattr, logging, "raiseExceptions", False)
_ROOT = Path(__file__).resolve().parents[1]


def resolved_settings(tree: dict[str, Any]) -> Settings:
    """Check and resolve a run's settings; a relative ``runs`` lies in the project's root.

    Raises:
        ConfigError: naming the key and the fix.
    """
    settings = resolve(parse_settings(tree))
    assert settings.runs is not None
    return settings.model_copy(update={"runs": (_ROOT / settings.runs).resolve()})


@pipeline(
    name="training_pipeline",
    model=Model(
        name="roadwork",
        license="Apache-2.0",
        description="Says whether a street photograph shows roadwork.",
        tags=["roadwork", "image-classification"],
    ),
    on_failure=end_as_failed,
)
def training_pipeline(settings: dict[str, Any] | None = None) -> None:
    """Ingest, split, pretrain, finetune, calibrate, conform, evaluate, export, register, deploy.

    Args:
        settings: a tree of :class:`roadwork.settings.Settings`; the demo by default. It is checked
            and resolved here, when the pipeline is assembled; each step receives the part it uses.
    """
    try:
        run = resolved_settings(settings or {})
        data_fingerprint = fingerprint_of(run)
        reference_fingerprint = profile_fingerprint(run.data.reference)
        require_wandb(run.track)
        if run.cascade.enabled:
            require_tiles(run.backbone.views)
    except (ConfigError, DataError) as error:
        # The command line of ZenML shows this as one message; anything else as a traceback.
        raise ClickException(str(error)) from error
    manifest, _ = ingest(run.only("data"), data_fingerprint)
    train, select, calibration, conformal_set, test, _, data, hashes = split_validate(
        manifest, run.only("data", "split"), reference_fingerprint
    )
    if run.data.shards.to is not None:
        train = shard(train, run.only("data"))
    # Not among the inputs: what is told to trackers must not make a step run again.
    told = {RUN: run.model_dump(mode="json")}
    backbone, pretrain_history = pretrain.with_options(extra=told)(
        train, run.only("data", "backbone", "pretrain", "compute")
    )
    classifier, baseline, history = finetune.with_options(extra=told)(
        backbone, train, select, run.only("data", "backbone", "finetune", "compute")
    )
    calibrator, compared = calibrate(classifier, calibration, run.only("data", "calibrate"))
    predictor = conformal(classifier, calibrator, conformal_set, run.only("data", "conformal"))
    further: dict[str, Any] = {}
    if run.defer.enabled:
        further["defer_threshold"] = defer(
            classifier, calibrator, calibration, conformal_set, run.only("data", "defer")
        )
    # The cascade is neither judged there nor in the bundle.
    usual = Settings()
    exported = run.model_copy(update={"track": usual.track, "cascade": usual.cascade})
    report, scores = evaluate(
        classifier,
        baseline,
        calibrator,
        predictor,
        test,
        data,
        exported.model_copy(update={"deploy": usual.deploy}),
        compared,
        **further,
    )
    of_cascade: dict[str, Any] = {}
    if run.cascade.enabled:
        taught = run.only("data", "backbone", "compute")
        both_stages, cascade_history = cascade.with_options(extra=told)(
            classifier,
            train,
            select,
            taught.model_copy(update={"cascade": run.cascade.training}),
        )
        certified = exits(
            both_stages, calibration, conformal_set, run.only("data", "calibrate", "cascade")
        )
        cascade_report = evaluate_cascade(
            certified, test, scores, run.only("name", "data", "evaluate")
        )
        of_cascade = {"cascade_history": cascade_history, "cascade_report": cascade_report}
    bundle, report_with_parity = export(
        classifier,
        calibrator,
        predictor,
        report,
        select,
        exported,
    )
    version = register(
        bundle,
        report_with_parity,
        scores,
        manifest,
        hashes,
        pretrain_history,
        history,
        run,
        **of_cascade,
    )
    verdict, _ = promote(version, report_with_parity, run)
    deploy(verdict, run)
