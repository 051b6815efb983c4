"""Step of a recalibration: judge the new policy beside the old one on the test set."""

from __future__ import annotations

from typing import Annotated

from zenml import step

import materializers  # noqa: F401
from roadwork.bundle import ModelBundle
from roadwork.calibration.choice import CalibratorComparison
from roadwork.calibration.fitted import FittedCalibrator
from roadwork.conformal.fitted import FittedConformal
from roadwork.data.manifest import TestSet
from roadwork.evaluation.record import DataSummary, EvaluationReport
from roadwork.pairing import TestScores
from roadwork.recalibration import Recalibrated, certify
from roadwork.settings import Settings
from steps.caching import library_cache


@step(cache_policy=library_cache("roadwork.recalibration"))
def recalibrate_certify(
    champion: ModelBundle,
    calibrator: FittedCalibrator,
    calibrator_comparison: CalibratorComparison,
    conformal_predictor: FittedConformal,
    test: TestSet,
    data_summary: DataSummary,
    settings: Settings,
) -> tuple[
    Annotated[EvaluationReport, "report"],
    Annotated[TestScores, "test_scores"],
    Annotated[TestScores, "champion_scores"],
]:
    """The report, and both answers for the gate."""
    policy = Recalibrated(calibrator, calibrator_comparison, conformal_predictor)
    done = certify(champion, policy, test, data_summary, settings)
    return done.report, done.scores, done.champion_scores
