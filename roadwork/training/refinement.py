"""Refinement: how well answers tell the classes apart, whatever their confidence.

The log loss of a model is its refinement error plus its calibration error. The latter is mended
afterwards, by the calibrator; a choice between passes of training that looks at the sum rejects
models which tell the classes apart better and are merely too sure. So the choice looks at the loss
after the best temperature: Berta, Holzmüller, Jordan, Bach, "Rethinking Early Stopping: Refine,
Then Calibrate" (2501.19195).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import logsumexp

from roadwork.calibration.temperature import TemperatureScaling

__all__ = ["log_loss", "refined_losses", "refinement_loss", "separated"]


def refinement_loss(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Mean negative log-likelihood of logits (N, K) after the temperature that makes it least.

    Where all labels are of one class no temperature can be fitted, and the logits count as they
    are.
    """
    return float(refined_losses(logits, labels).mean())


def refined_losses(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """The same loss for every row, (N,)."""
    scores = logits
    if labels.min() != labels.max():
        # Lightning judges in inference mode, in which nothing could be fitted.
        with torch.inference_mode(False), torch.enable_grad():
            scores = TemperatureScaling.fit(logits, labels).calibrated(logits)
    return _losses(scores, labels)


def log_loss(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Mean negative log-likelihood of logits (N, K) as they are."""
    return float(_losses(logits, labels).mean())


def separated(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> bool:
    """Whether every row's largest logit (N, K) is its label's, and no other is as large.

    The best temperature is then the least that is allowed, and the loss near zero, or zero.
    """
    rows = np.arange(len(labels))
    others = logits.copy()
    others[rows, labels] = -np.inf
    return bool((logits[rows, labels] > others.max(axis=1)).all())


def _losses(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    # log(1 + sum exp(gap)) over the other classes: a probability near one would round to one, and
    # very different losses to zero.
    rows = np.arange(len(labels))
    gaps = logits - logits[rows, labels][:, None]
    gaps[rows, labels] = -np.inf
    return np.logaddexp(0.0, logsumexp(gaps, axis=1))
