"""Step: turn logits into probabilities that can be believed."""

from __future__ import annotations

from typing import Annotated

from zenml import step

import materializers  # noqa: F401
from roadwork.calibration.choice import CalibratorComparison
from roadwork.calibration.fitted import FittedCalibrator, fit_and_compare
from roadwork.data.manifest import CalibrationSet
from roadwork.models.classifier import Classifier
from roadwork.models.inference import predict_logits
from roadwork.settings import Settings
from steps.caching import library_cache


@step(cache_policy=library_cache("roadwork.calibration", "roadwork.models.inference"))
def calibrate(
    classifier: Classifier, dataset: CalibrationSet, settings: Settings
) -> tuple[
    Annotated[FittedCalibrator, "calibrator"],
    Annotated[CalibratorComparison, "calibrator_comparison"],
]:
    """Fit the calibrator on data that the classifier has not seen, and say what others would do."""
    logits = predict_logits(classifier, dataset, settings.data)
    wanted = settings.calibrate
    calibrator, comparison = fit_and_compare(
        classifier, dataset, logits, wanted.method, wanted.deployment_prior
    )
    return calibrator, comparison
