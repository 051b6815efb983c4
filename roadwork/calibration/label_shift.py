"""Label shift: a fitted calibrator for a place where roadwork is rarer or commoner.

The shift itself is a parameter of :class:`~roadwork.calibration.base.Calibrator`; here it is set.
It assumes that the deployment shows the same kinds of pictures within each class, in another
proportion. Under that assumption class-conditional coverage carries over: the thresholds of
Mondrian sets are set within one class, and the pictures of one class stay the same. Coverage over
all classes does not: it is an average weighted by the prior, and the prior changes.
"""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import ArrayLike

from roadwork.calibration.base import Calibrator, log_odds
from roadwork.errors import ConfigError, DataError

__all__ = ["shift_prior", "warn_of_marginal_coverage"]

logger = logging.getLogger(__name__)

_WITHIN_LABELS = frozenset({"mondrian", "rc3p"})  # methods whose promise holds within each label


def shift_prior(calibrator: Calibrator, labels: ArrayLike, deployment_prior: float) -> Calibrator:
    """The calibrator with its log odds moved from the calibration set's prior to another.

    Args:
        calibrator: fitted on the calibration set.
        labels: (N,) labels 0 or 1 of that set; their mean is the prior that the calibrator is for.
        deployment_prior: share of class 1 where the model will serve, in (0, 1).

    Raises:
        ConfigError: the deployment prior is not between 0 and 1.
        DataError: the calibration set holds one class alone, or other classes than 0 and 1.
    """
    if not 0.0 < deployment_prior < 1.0:
        raise ConfigError(
            f"calibrate.deployment_prior is {deployment_prior}: it is a share between 0 and 1, "
            "both excluded"
        )
    classes = np.asarray(labels)
    if set(np.unique(classes).tolist()) != {0, 1}:
        raise DataError(
            "calibrate.deployment_prior needs a calibration set with both labels, 0 and 1; it has "
            f"{np.unique(classes).tolist()}: set it to null, or add images of the other label"
        )
    prior = float(classes.mean())
    logger.info(
        "log odds are shifted by %+.3f: from a share of roadwork of %.3f to %.3f",
        log_odds(deployment_prior) - log_odds(prior),
        prior,
        deployment_prior,
    )
    fields = {"calibration_prior": prior, "deployment_prior": deployment_prior}
    return type(calibrator).model_validate(calibrator.model_dump() | fields)


def warn_of_marginal_coverage(calibrator: Calibrator, conformal: str) -> None:
    """Say in the log when prediction sets promise what a shifted prior takes away.

    Args:
        calibrator: gives the probabilities that the sets are made from.
        conformal: a key of ``CONFORMAL``.
    """
    if calibrator.deployment_prior is None or conformal in _WITHIN_LABELS:
        return
    logger.warning(
        "conformal.method: %s promises coverage averaged over the labels in the proportion of the "
        "conformal set (calibrated at %.3f roadwork); with calibrate.deployment_prior: %.3f that "
        "average no longer holds. Use conformal.method: mondrian, whose promise holds within each "
        "label.",
        conformal,
        calibrator.calibration_prior,
        calibrator.deployment_prior,
    )
