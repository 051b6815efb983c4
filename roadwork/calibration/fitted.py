"""A fitted calibrator with its exposure, and the only door through which one is fitted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from roadwork.calibration import CALIBRATORS, Calibrator, parse_calibrator
from roadwork.calibration.choice import BASELINE, CalibratorComparison, compare_calibrators
from roadwork.calibration.label_shift import shift_prior
from roadwork.data.contract import require_role, validate_policy_fitting
from roadwork.data.exposure import Exposed, Exposure, Use
from roadwork.data.manifest import CalibrationSet
from roadwork.errors import ConfigError, DataError
from roadwork.fitted import Fitted

__all__ = ["FittedCalibrator", "fit_and_compare", "fit_calibrator"]


class FittedCalibrator(Fitted[Calibrator]):
    """A map from logits to probabilities, and what touched it and the model beneath it."""

    title = "calibrator"
    file = "calibration.json"

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Calibrator:
        """The calibrator of its JSON form."""
        return parse_calibrator(data)


def fit_calibrator(
    classifier: Exposed,
    dataset: CalibrationSet,
    logits: ArrayLike,
    method: str,
    deployment_prior: float | None = None,
) -> FittedCalibrator:
    """Fit a calibrator on the classifier's logits of the calibration set.

    Args:
        classifier: gave the logits; must not have seen the set.
        dataset: the calibration set.
        logits: (N, K) in the set's row order.
        method: a key of ``CALIBRATORS``, or "auto" for a choice among them within the set.
        deployment_prior: share of roadwork where the model will serve; None for that of the set.

    Raises:
        LeakageError: another role's set, or data that the classifier was exposed to.
        DataError: logits that do not belong to the set, or that cannot be calibrated on.
        ConfigError: the method is for two classes and there are more, or it is unknown.
    """
    _require_fitting_set(classifier, dataset, logits)
    if method == "auto":
        method = compare_calibrators(logits, dataset.labels, dataset.groups).chosen
    if method not in CALIBRATORS:
        raise ConfigError(f"unknown calibrator {method}; known are {', '.join(CALIBRATORS)}.")
    model = CALIBRATORS[method].fit(logits, dataset.labels, dataset.groups)
    if deployment_prior is not None:
        model = shift_prior(model, dataset.labels, deployment_prior)
    return FittedCalibrator(model, classifier.exposure.union(Exposure.of(Use.CALIBRATE, dataset)))


def fit_and_compare(
    classifier: Exposed,
    dataset: CalibrationSet,
    logits: ArrayLike,
    method: str,
    deployment_prior: float | None = None,
) -> tuple[FittedCalibrator, CalibratorComparison]:
    """As :func:`fit_calibrator`, with the cross-validated comparison that it rests on.

    A method that the settings name is compared with no calibration alone; "auto" compares all. The
    comparison says nothing of the deployment prior: it is made at that of the set.

    Raises:
        LeakageError, DataError, ConfigError: as :func:`fit_calibrator`.
    """
    _require_fitting_set(classifier, dataset, logits)
    compared = compare_calibrators(
        logits,
        dataset.labels,
        dataset.groups,
        asked=method,
        methods=None if method == "auto" else (BASELINE, method),
    )
    fitted = fit_calibrator(classifier, dataset, logits, compared.chosen, deployment_prior)
    return fitted, compared


def _require_fitting_set(classifier: Exposed, dataset: CalibrationSet, logits: ArrayLike) -> None:
    require_role(dataset, "calibrate", CalibrationSet)
    validate_policy_fitting([classifier], dataset)
    if np.shape(logits)[:1] != (len(dataset),):
        raise DataError(f"{np.shape(logits)} logits for the {len(dataset)} rows to calibrate on")
