"""Step: from which confidence on an answer stands alone."""

from __future__ import annotations

from typing import Annotated

from zenml import step

import materializers  # noqa: F401
from roadwork.calibration.fitted import FittedCalibrator
from roadwork.data.manifest import CalibrationSet, ConformalSet
from roadwork.models.classifier import Classifier
from roadwork.models.inference import predict_logits
from roadwork.risk_control.defer import DeferPromise
from roadwork.risk_control.fitted import FittedDeferThreshold, fit_defer_threshold
from roadwork.settings import Settings
from steps.caching import library_cache


@step(
    cache_policy=library_cache(
        "roadwork.risk_control", "roadwork.calibration", "roadwork.models.inference"
    )
)
def defer(
    classifier: Classifier,
    calibrator: FittedCalibrator,
    calibration: CalibrationSet,
    conformal_set: ConformalSet,
    settings: Settings,
) -> Annotated[FittedDeferThreshold, "defer_threshold"]:
    """Levels from the calibration set, the test of them on the conformal set."""
    wanted = settings.defer
    reference, tested = (
        calibrator.model.transform(predict_logits(classifier, part, settings.data))
        for part in (calibration, conformal_set)
    )
    return fit_defer_threshold(
        classifier,
        calibrator,
        calibration,
        reference,
        conformal_set,
        tested,
        DeferPromise(max_error=wanted.max_error, max_missed=wanted.max_missed, delta=wanted.delta),
    )
