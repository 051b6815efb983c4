"""A fitted conformal predictor with its exposure, and the only door through which one is fitted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from roadwork.conformal import ConformalPredictor, Rows, fit_predictor, parse_conformal
from roadwork.data.contract import require_role, validate_policy_fitting
from roadwork.data.exposure import Exposed, Exposure, Use
from roadwork.data.manifest import ConformalSet
from roadwork.errors import ConfigError, DataError
from roadwork.fitted import Fitted
from roadwork.settings.conformal import ConformalSettings

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
    asked: ConformalSettings,
    seed: int = 0,
) -> FittedConformal:
    """Fit thresholds on calibrated probabilities of the conformal set.

    Args:
        classifier: must not have seen the set.
        calibrator: gave the probabilities; must not have seen the set.
        dataset: the conformal set.
        probabilities: (N, K) in the set's row order.
        asked: the method and what it promises.
        seed: of lots and of randomised scores.

    Raises:
        LeakageError: another role's set, or data that one of the two was exposed to.
        DataError: probabilities that do not belong to the set.
        ConfigError: the set has no such column of slices.
    """
    require_role(dataset, "conformalise", ConformalSet)
    validate_policy_fitting([classifier, calibrator], dataset)
    if np.shape(probabilities)[:1] != (len(dataset),):
        raise DataError(f"{np.shape(probabilities)} probabilities for {len(dataset)} rows")
    rows = Rows(ids=dataset.sample_ids, slices=_slices(dataset, asked.slice))
    model = fit_predictor(
        asked, probabilities, dataset.labels, groups=dataset.groups, rows=rows, seed=seed
    )
    exposure = classifier.exposure.union(
        calibrator.exposure, Exposure.of(Use.CONFORMALISE, dataset)
    )
    return FittedConformal(model, exposure)


def _slices(dataset: ConformalSet, column: str | None) -> list[str | None] | None:
    if column is None:
        return None
    if column not in dataset.table.column_names:
        raise ConfigError(
            f"conformal.slice: the manifest has no column {column}; known are "
            f"{', '.join(dataset.table.column_names)}"
        )
    return [None if value is None else str(value) for value in dataset.column(column)]
