"""Step: judge the model and its baseline on the test set."""

from __future__ import annotations

from typing import Annotated

from zenml import step

import materializers  # noqa: F401
from roadwork.calibration.choice import CalibratorComparison
from roadwork.calibration.fitted import FittedCalibrator
from roadwork.conformal.fitted import FittedConformal
from roadwork.data.manifest import TestSet
from roadwork.evaluation.final import evaluate as judge
from roadwork.evaluation.record import DataSummary, EvaluationReport
from roadwork.models.classifier import Classifier
from roadwork.pairing import TestScores
from roadwork.risk_control.fitted import FittedDeferThreshold
from roadwork.settings import Settings
from steps.caching import library_cache


@step(cache_policy=library_cache("roadwork.evaluation"))
def evaluate(
    classifier: Classifier,
    baseline: Classifier,
    calibrator: FittedCalibrator,
    conformal_predictor: FittedConformal,
    test: TestSet,
    data_summary: DataSummary,
    settings: Settings,
    calibrator_comparison: CalibratorComparison | None = None,
    defer_threshold: FittedDeferThreshold | None = None,
) -> tuple[Annotated[EvaluationReport, "report"], Annotated[TestScores, "test_scores"]]:
    """The report, and the test scores for later comparisons with other models."""
    report, scores = judge(
        classifier,
        baseline,
        calibrator,
        conformal_predictor,
        test,
        data_summary,
        settings,
        calibrators=calibrator_comparison,
        defer=defer_threshold,
    )
    return report, scores
