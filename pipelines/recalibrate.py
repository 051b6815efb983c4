"""The recalibration pipeline: the champion's policy, fitted again on new data and certified."""

from __future__ import annotations

import logging
from typing import Any

from click import ClickException
from zenml import Model, pipeline

from pipelines.training import resolved_settings
from registry import resolve_bundle
from registry.tracking import registry_of
from registry.weights_and_biases import require_wandb
from roadwork.bundle import ModelBundle
from roadwork.data.profile import profile_fingerprint
from roadwork.data.sources import fingerprint_of
from roadwork.errors import RoadworkError
from roadwork.recalibration import recalibrated_settings
from roadwork.settings import Settings
from roadwork.settings.recalibrate import parse_recalibrate, require_no_training
from steps.deploy import deploy
from steps.ingest import ingest
from steps.promote import promote
from steps.recalibrate import recalibrate as refit
from steps.recalibrate_certify import recalibrate_certify
from steps.recalibrate_export import recalibrate_export
from steps.recalibrate_open import recalibrate_open
from steps.recalibrate_register import recalibrate_register
from steps.recalibrate_split import recalibrate_split

__all__ = ["recalibration_pipeline"]

logger = logging.getLogger(__name__)


@pipeline(name="recalibration_pipeline", model=Model(name="roadwork"))
def recalibration_pipeline(
    settings: dict[str, Any] | None = None, recalibrate: dict[str, Any] | None = None
) -> None:
    """Open the champion, ingest, set aside what it has seen, split, refit, certify, register.

    Nothing is trained: the new bundle has the champion's network, byte for byte.

    Args:
        settings: a tree of :class:`roadwork.settings.Settings`, of which
            :data:`roadwork.settings.recalibrate.TAKEN` may be given; the rest is the champion's.
        recalibrate: a tree of :class:`roadwork.settings.recalibrate.RecalibrateSettings`.
    """
    try:
        wanted = parse_recalibrate(recalibrate)
        require_no_training(settings)
        given = resolved_settings(settings or {})
        require_wandb(given.track)
        sealed = ModelBundle.open(resolve_bundle(wanted.champion, registry_of(given)))
        run = recalibrated_settings(sealed, given)
        data_fingerprint = fingerprint_of(run)
        reference_fingerprint = profile_fingerprint(run.data.reference)
    except RoadworkError as error:
        # The command line of ZenML shows this as one message; anything else as a traceback.
        raise ClickException(str(error)) from error
    logger.info("recalibrating the %s (%s)", sealed.title, wanted.champion)
    champion = recalibrate_open(wanted.champion, sealed.hash, run.only("register"))
    manifest, _ = ingest(run.only("data"), data_fingerprint)
    calibration, conformal_set, test, new_manifest, _, data, hashes = recalibrate_split(
        champion, manifest, wanted.seen, run.only("name", "data", "split"), reference_fingerprint
    )
    calibrator, compared, predictor = refit(
        champion, calibration, conformal_set, run.only("data", "calibrate", "conformal")
    )
    # Neither of the two changes what is judged, or what is in the bundle.
    usual = Settings()
    judged = run.model_copy(update={"track": usual.track, "deploy": usual.deploy})
    report, scores, champion_scores = recalibrate_certify(
        champion, calibrator, compared, predictor, test, data, judged
    )
    bundle, report_with_parity = recalibrate_export(
        champion, calibrator, compared, predictor, report, calibration, judged
    )
    version = recalibrate_register(
        bundle, report_with_parity, scores, champion, champion_scores, new_manifest, hashes, run
    )
    verdict, _ = promote(version, report_with_parity, run)
    deploy(verdict, run)
