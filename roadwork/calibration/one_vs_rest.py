"""One map per class against the rest, joined into one distribution; class 1 alone when K is 2."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from roadwork.calibration.base import FloatArray
from roadwork.errors import DataError

__all__ = ["joint_logits", "mapped_classes"]


def mapped_classes(classes: int) -> int:
    """Number of maps: one for two classes, and otherwise one per class."""
    return 1 if classes == 2 else classes


def joint_logits(
    odds: FloatArray, classes: int, apply: Callable[[int, FloatArray], FloatArray]
) -> FloatArray:
    """Logits (N, K) whose softmax is the mapped probabilities divided by their sum.

    Args:
        odds: (N, M) of :func:`~roadwork.calibration.base.class_log_odds`.
        classes: K, for which the maps were fitted.
        apply: maps column m at log odds (N,) to probabilities strictly between 0 and 1.

    Raises:
        DataError: the odds are of another number of classes.
    """
    if odds.shape[1] != mapped_classes(classes):
        given = 2 if odds.shape[1] == 1 else odds.shape[1]
        raise DataError(
            f"the calibrator was fitted for {classes} classes and the logits have {given}"
        )
    if classes == 2:
        chance = apply(0, odds[:, 0])
        return np.stack([np.log1p(-chance), np.log(chance)], axis=1)
    return np.log(np.stack([apply(k, odds[:, k]) for k in range(classes)], axis=1))
