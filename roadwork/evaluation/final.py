"""The final evaluation: the fitted model and its baseline meet the test set, once."""

from __future__ import annotations

from roadwork.calibration.base import softmax
from roadwork.calibration.choice import CalibratorComparison
from roadwork.calibration.fitted import FittedCalibrator
from roadwork.conformal.fitted import FittedConformal
from roadwork.data.contract import validate_final_eval
from roadwork.data.manifest import TestSet
from roadwork.data.thumbnails import thumbnail
from roadwork.data.views import tile_count
from roadwork.evaluation.evaluate import Baseline, build_report
from roadwork.evaluation.record import (
    THUMBNAIL_BYTES,
    DataSummary,
    EvaluationReport,
    ModelInfo,
)
from roadwork.models.classifier import Classifier
from roadwork.models.inference import predict_logits
from roadwork.pairing import TestScores
from roadwork.risk_control.fitted import FittedDeferThreshold
from roadwork.settings import Settings

__all__ = ["evaluate"]


def evaluate(
    classifier: Classifier,
    baseline: Classifier,
    calibrator: FittedCalibrator,
    conformal: FittedConformal,
    test: TestSet,
    data: DataSummary,
    settings: Settings,
    calibrators: CalibratorComparison | None = None,
    defer: FittedDeferThreshold | None = None,
) -> tuple[EvaluationReport, TestScores]:
    """Score the test set with the model and the baseline, and write the report.

    Args:
        classifier: what is judged.
        baseline: the simple model to beat.
        calibrator: fitted on the classifier's logits.
        conformal: fitted on its calibrated probabilities.
        test: nothing was fitted on it.
        data: see :func:`~roadwork.evaluation.evaluate.summarise_data`.
        settings: of the run.
        calibrators: how the calibrator was chosen.
        defer: a defer threshold on the same probabilities, where one was fitted.

    Raises:
        LeakageError: any of the fitted parts has seen a test image or group.
    """
    further = [] if defer is None else [defer]
    validate_final_eval([classifier, baseline, calibrator, conformal, *further], test)
    logits = predict_logits(classifier, test, settings.data)
    probabilities = calibrator.model.transform(logits)
    simple = softmax(predict_logits(baseline, test, settings.data))
    report = build_report(
        settings=settings,
        test=test,
        probabilities=probabilities,
        conformal=conformal.model,
        exposure=classifier.exposure.union(
            baseline.exposure,
            calibrator.exposure,
            conformal.exposure,
            *(part.exposure for part in further),
        ),
        data=data,
        model=_info(classifier, calibrator),
        uncalibrated=softmax(logits),
        baseline=Baseline(
            title="Frozen features + logistic regression",
            description=(
                "The backbone as fine-tuning found it, its aggregated features of the same views, "
                "and a logistic regression on them; not calibrated."
            ),
            probabilities=simple,
        ),
        thumbnails=lambda rows: _thumbnails(test, rows, settings.data.max_megapixels),
        calibrators=calibrators,
        defer=None if defer is None else defer.model,
    )
    return report, TestScores.of(test, probabilities)


def _info(classifier: Classifier, calibrator: FittedCalibrator) -> ModelInfo:
    spec = classifier.spec
    views = (
        f"one global view and {tile_count(spec.views.tiles)} tiles ({spec.views.aggregator})"
        if spec.views.tiles
        else "one global view"
    )
    return ModelInfo(
        title="Fine-tuned and calibrated",
        description=f"{spec.backbone}, fine-tuned ({spec.adapter}) from the baseline's head.",
        backbone=spec.backbone,
        weights=spec.origin,
        adapter=spec.adapter,
        calibrator=calibrator.model.summary,
        input=f"{spec.image_size} px, {views}",
    )


def _thumbnails(test: TestSet, rows: list[int], max_megapixels: float) -> list[bytes | None]:
    uris = test.uris
    return [thumbnail(uris[row], THUMBNAIL_BYTES, max_megapixels) for row in rows]
