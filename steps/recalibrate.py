"""Step of a recalibration: calibrator and thresholds on the champion's own logits."""

from __future__ import annotations

from typing import Annotated

from zenml import step

import materializers  # noqa: F401
from roadwork.bundle import ModelBundle
from roadwork.calibration.choice import CalibratorComparison
from roadwork.calibration.fitted import FittedCalibrator
from roadwork.conformal.fitted import FittedConformal
from roadwork.data.manifest import CalibrationSet, ConformalSet
from roadwork.recalibration import recalibrate as refit
from roadwork.settings import Settings
from steps.caching import library_cache


@step(cache_policy=library_cache("roadwork.recalibration"))
def recalibrate(
    champion: ModelBundle,
    calibration: CalibrationSet,
    conformal_set: ConformalSet,
    settings: Settings,
) -> tuple[
    Annotated[FittedCalibrator, "calibrator"],
    Annotated[CalibratorComparison, "calibrator_comparison"],
    Annotated[FittedConformal, "conformal_predictor"],
]:
    """Each on data that nothing beneath has seen."""
    done = refit(champion, calibration, conformal_set, settings)
    return done.calibrator, done.comparison, done.conformal
