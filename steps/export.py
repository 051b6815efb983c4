"""Step: export the model, prove that the engines answer alike, and seal the bundle."""

from __future__ import annotations

from typing import Annotated

from zenml import step

import materializers  # noqa: F401
from roadwork.bundle import ModelBundle
from roadwork.calibration.fitted import FittedCalibrator
from roadwork.conformal.fitted import FittedConformal
from roadwork.data.manifest import SelectSet
from roadwork.evaluation.record import EvaluationReport
from roadwork.export.package import package
from roadwork.models.classifier import Classifier
from roadwork.settings import Settings
from steps.caching import library_cache
from steps.folders import bundles


@step(cache_policy=library_cache("roadwork.export", "roadwork.bundle"))
def export(
    classifier: Classifier,
    calibrator: FittedCalibrator,
    conformal_predictor: FittedConformal,
    report: EvaluationReport,
    select: SelectSet,
    settings: Settings,
) -> tuple[Annotated[ModelBundle, "bundle"], Annotated[EvaluationReport, "report_with_parity"]]:
    """No bundle without parity."""
    packaged = package(
        classifier, calibrator, conformal_predictor, report, select, settings, bundles(settings)
    )
    return packaged.bundle, packaged.report
