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

from roadwork.calibration.base import softmax
from roadwork.calibration.temperature import TemperatureScaling

__all__ = ["refined_losses", "refinement_loss"]


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
    chosen = softmax(scores)[np.arange(len(labels)), labels]
    return -np.log(np.maximum(chosen, np.finfo(np.float64).tiny))
