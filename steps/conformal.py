"""Step: thresholds for prediction sets with a guarantee."""

from __future__ import annotations

from typing import Annotated

from zenml import step

import materializers  # noqa: F401
from roadwork.calibration.fitted import FittedCalibrator
from roadwork.calibration.label_shift import warn_of_marginal_coverage
from roadwork.conformal.fitted import FittedConformal, fit_conformal
from roadwork.data.manifest import ConformalSet
from roadwork.models.classifier import Classifier
from roadwork.models.inference import predict_logits
from roadwork.settings import Settings
from steps.caching import library_cache


@step(
    cache_policy=library_cache(
        "roadwork.conformal", "roadwork.calibration", "roadwork.models.inference"
    )
)
def conformal(
    classifier: Classifier,
    calibrator: FittedCalibrator,
    dataset: ConformalSet,
    settings: Settings,
) -> Annotated[FittedConformal, "conformal_predictor"]:
    """Fit thresholds on data that neither the classifier nor the calibrator has seen."""
    warn_of_marginal_coverage(calibrator.model, settings.conformal.method)
    logits = predict_logits(classifier, dataset, settings.data)
    return fit_conformal(
        classifier,
        calibrator,
        dataset,
        calibrator.model.transform(logits),
        settings.conformal,
        settings.seed,
    )
