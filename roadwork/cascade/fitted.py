"""A fitted exit policy with its exposure, and the only door through which one is fitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from pydantic import ValidationError

from roadwork.cascade.policy import ExitPolicy, ExitPromise, PathName
from roadwork.data.contract import validate_policy_fitting
from roadwork.data.exposure import Exposed, Exposure, Use
from roadwork.data.manifest import CalibrationSet, ConformalSet
from roadwork.errors import DataError
from roadwork.fitted import Fitted

__all__ = ["FittedExitPolicy", "fit_exit_policy"]


class FittedExitPolicy(Fitted[ExitPolicy]):
    """Exits, and what touched them and everything beneath them."""

    title = "exit policy"
    file = "exits.json"

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> ExitPolicy:
        """The policy of its JSON form.

        Raises:
            DataError: it is not a policy.
        """
        try:
            return ExitPolicy.model_validate(dict(data))
        except ValidationError as error:
            raise DataError(f"the stored exit policy is not valid: {error}") from error


def fit_exit_policy(
    artifacts: Sequence[Exposed],
    dataset: CalibrationSet | ConformalSet,
    first: ArrayLike,
    second: ArrayLike,
    promise: ExitPromise,
    path: PathName = "two_sided",
) -> FittedExitPolicy:
    """Fit exits on both stages' calibrated probabilities of a set that nothing beneath has seen.

    Args:
        artifacts: the network and both stages' calibrators; none may have seen the set. Where the
            calibrators were fitted on the calibration set, that leaves the conformal set.
        dataset: gives the labels and the groups.
        first: (N, 2) calibrated probabilities of stage 1, in the set's row order.
        second: (N, 2) those of stage 2.
        promise: what the exits may cost.
        path: a key of ``EXIT_PATHS``, chosen without these labels.

    Raises:
        LeakageError: another role's set, or data that an artifact was exposed to.
        DataError: probabilities that do not belong to the set.
    """
    validate_policy_fitting(artifacts, dataset)
    for stage, values in ((1, first), (2, second)):
        if np.shape(values)[:1] != (len(dataset),):
            raise DataError(
                f"{np.shape(values)} probabilities of stage {stage} for {len(dataset)} rows"
            )
    model = ExitPolicy.fit(
        first, second, dataset.labels, dataset.groups, promise=promise, path=path
    )
    use = Use.CONFORMALISE if isinstance(dataset, ConformalSet) else Use.CALIBRATE
    exposure = Exposure.of(use, dataset).union(*(artifact.exposure for artifact in artifacts))
    return FittedExitPolicy(model, exposure)
