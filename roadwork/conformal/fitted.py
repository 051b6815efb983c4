"""A fitted conformal predictor with its exposure, and the only door through which one is fitted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from roadwork.conformal import CONFORMAL, ConformalPredictor, parse_conformal
from roadwork.data.contract import require_role, validate_policy_fitting
from roadwork.data.exposure import Exposed, Exposure, Use
from roadwork.data.manifest import ConformalSet
from roadwork.errors import DataError
from roadwork.fitted import Fitted

__all__ = ["FittedConformal", "fit_conformal"]


class FittedConformal(Fitted[ConformalPredictor]):
    """Thresholds for prediction sets, and what touched them and everything beneath them."""

    title = "conformal predictor"
    file = "conformal.json"

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> ConformalPredictor:
        """The predictor of its JSON form."""
        return parse_conformal(data)


def fit_conformal(
    classifier: Exposed,
    calibrator: Exposed,
    dataset: ConformalSet,
    probabilities: ArrayLike,
    method: str,
    alpha: float,
) -> FittedConformal:
    """Fit thresholds on calibrated probabilities of the conformal set.

    Args:
        classifier: must not have seen the set.
        calibrator: gave the probabilities; must not have seen the set.
        dataset: the conformal set.
        probabilities: (N, K) in the set's row order.
        method: a key of ``CONFORMAL``.
        alpha: allowed share of missed labels.

    Raises:
        LeakageError: another role's set, or data that one of the two was exposed to.
        DataError: probabilities that do not belong to the set.
    """
    require_role(dataset, "conformalise", ConformalSet)
    validate_policy_fitting([classifier, calibrator], dataset)
    if np.shape(probabilities)[:1] != (len(dataset),):
        raise DataError(f"{np.shape(probabilities)} probabilities for {len(dataset)} rows")
    model = CONFORMAL[method].fit(probabilities, dataset.labels, alpha, groups=dataset.groups)
    exposure = classifier.exposure.union(
        calibrator.exposure, Exposure.of(Use.CONFORMALISE, dataset)
    )
    return FittedConformal(model, exposure)
