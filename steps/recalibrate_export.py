"""Step of a recalibration: prove the engines alike again, and seal the new bundle."""

from __future__ import annotations

from typing import Annotated

from zenml import step

import materializers  # noqa: F401
from roadwork.bundle import ModelBundle
from roadwork.calibration.choice import CalibratorComparison
from roadwork.calibration.fitted import FittedCalibrator
from roadwork.conformal.fitted import FittedConformal
from roadwork.data.manifest import CalibrationSet
from roadwork.evaluation.record import EvaluationReport
from roadwork.export.repackage import repackage
from roadwork.recalibration import Recalibrated
from roadwork.settings import Settings
from steps.caching import library_cache
from steps.folders import bundles


@step(cache_policy=library_cache("roadwork.export", "roadwork.bundle"))
def recalibrate_export(
    champion: ModelBundle,
    calibrator: FittedCalibrator,
    calibrator_comparison: CalibratorComparison,
    conformal_predictor: FittedConformal,
    report: EvaluationReport,
    calibration: CalibrationSet,
    settings: Settings,
) -> tuple[Annotated[ModelBundle, "bundle"], Annotated[EvaluationReport, "report_with_parity"]]:
    """The champion's network, byte for byte, with the new policy."""
    policy = Recalibrated(calibrator, calibrator_comparison, conformal_predictor)
    packaged = repackage(champion, policy, report, calibration, settings, bundles(settings))
    return packaged.bundle, packaged.report
