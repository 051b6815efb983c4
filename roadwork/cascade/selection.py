"""The choice between passes: how good is a cascade whose exits are not yet known?

Its exits are fitted later, on other data, and may let any share of the images out at stage 1. So
passes are compared by the log loss of the cascade, averaged over every such share. Both stages are
taken after their best temperature, because a calibrator follows
(:mod:`roadwork.training.refinement`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roadwork.calibration.base import FloatArray, log_softmax
from roadwork.training.refinement import refined_losses

__all__ = ["SelectionLoss", "mean_cascade_loss", "selection_loss"]


@dataclass(frozen=True)
class SelectionLoss:
    """Losses of one pass on the selection set, in nats, lower is better.

    Attributes:
        cascade: by which passes are chosen, see :func:`mean_cascade_loss`.
        first: of stage 1 on every image.
        second: of stage 2 on every image.
    """

    cascade: float
    first: float
    second: float


def mean_cascade_loss(first: FloatArray, second: FloatArray, confidence: FloatArray) -> float:
    """Loss of a cascade, averaged over the numbers k = 0 ... N of images that stage 1 answers.

    Stage 1 answers its k most confident images and stage 2 the others. The i-th most confident of
    them (from 1) is answered by stage 1 for the N + 1 - i values k >= i, so that the average is
    ``sum_i ((N + 1 - i) first_i + i second_i) / (N (N + 1))``. Images of equal confidence share
    their mean place, which is the average over their orders.

    Args:
        first: (N,) losses of stage 1.
        second: (N,) losses of stage 2.
        confidence: (N,) of stage 1.
    """
    from scipy.stats import rankdata

    passed = rankdata(-confidence, method="average") / (len(first) + 1)
    return float(((1.0 - passed) * first + passed * second).mean())


def selection_loss(
    first: FloatArray, second: FloatArray, labels: NDArray[np.int64]
) -> SelectionLoss:
    """Losses of both stages' logits, (N, 2) each, and of the cascade."""
    one, two = refined_losses(first, labels), refined_losses(second, labels)
    # A temperature does not change the order of the confidences.
    confidence = log_softmax(first).max(axis=1)
    return SelectionLoss(
        mean_cascade_loss(one, two, confidence), float(one.mean()), float(two.mean())
    )
