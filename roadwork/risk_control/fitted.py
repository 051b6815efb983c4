"""A fitted defer threshold with its exposure, and the only door through which one is fitted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from pydantic import ValidationError

from roadwork.data.contract import require_disjoint, require_role, validate_policy_fitting
from roadwork.data.exposure import Exposed, Exposure, Use
from roadwork.data.manifest import CalibrationSet, ConformalSet
from roadwork.errors import DataError
from roadwork.fitted import Fitted
from roadwork.risk_control.defer import DeferPromise, DeferThreshold
from roadwork.risk_control.levels import levels_from

__all__ = ["FittedDeferThreshold", "fit_defer_threshold"]


class FittedDeferThreshold(Fitted[DeferThreshold]):
    """A defer threshold, and what touched it and everything beneath it."""

    title = "defer threshold"
    file = "defer.json"

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> DeferThreshold:
        """The threshold of its JSON form.

        Raises:
            DataError: it is not a threshold.
        """
        try:
            return DeferThreshold.model_validate(dict(data))
        except ValidationError as error:
            raise DataError(f"the stored defer threshold is not valid: {error}") from error


def fit_defer_threshold(
    classifier: Exposed,
    calibrator: Exposed,
    reference: CalibrationSet,
    reference_probabilities: ArrayLike,
    dataset: ConformalSet,
    probabilities: ArrayLike,
    promise: DeferPromise,
) -> FittedDeferThreshold:
    """Fit a threshold on the conformal set, at levels that come from the calibration set.

    Args:
        classifier: must not have seen the conformal set.
        calibrator: gave the probabilities; must not have seen the conformal set.
        reference: the calibration set: where confidences lie.
        reference_probabilities: (M, K) in its row order.
        dataset: the conformal set, whole or a part of whole groups.
        probabilities: (N, K) in its row order.
        promise: what errors among accepted answers may cost.

    Raises:
        LeakageError: another role's set, a set that one of the two was exposed to, or two sets
            that share an image or a group.
        DataError: probabilities that do not belong to their set.
    """
    require_role(reference, "choose levels of confidence", CalibrationSet)
    require_role(dataset, "fit a defer threshold", ConformalSet)
    validate_policy_fitting([classifier, calibrator], dataset)
    require_disjoint(reference, dataset)
    for part, values in ((reference, reference_probabilities), (dataset, probabilities)):
        if np.shape(values)[:1] != (len(part),):
            raise DataError(f"{np.shape(values)} probabilities for {len(part)} rows")
    groups = dataset.groups
    levels = levels_from(reference_probabilities, reference.labels, len(np.unique(groups)), promise)
    model = DeferThreshold.fit(probabilities, dataset.labels, levels, groups, promise=promise)
    exposure = classifier.exposure.union(
        calibrator.exposure,
        Exposure.of(Use.CALIBRATE, reference),
        Exposure.of(Use.CONFORMALISE, dataset),
    )
    return FittedDeferThreshold(model, exposure)
