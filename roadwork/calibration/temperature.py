"""Temperature scaling: one number that softens or sharpens every logit.

Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", ICML 2017
(arXiv 1706.04599): q = softmax(z / T), with T the minimiser of the negative log-likelihood.
"""

from __future__ import annotations

import math
from typing import Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field

from roadwork.calibration.base import (
    Calibrator,
    FloatArray,
    IntArray,
    check_labels,
    check_matrix,
    require_classes,
    softmax,
)
from roadwork.errors import TrainingError

__all__ = ["LOG_TEMPERATURE_BOUND", "TemperatureScaling"]

LOG_TEMPERATURE_BOUND = 4.0
"""log T stays in [-4, 4], that is T in [0.018, 54.6]."""

_MAX_ITERATIONS = 200
_CONVERGED = 1e-6


class TemperatureScaling(Calibrator):
    """Probabilities are softmax(logits / temperature).

    The ranking of classes within a row does not change, hence neither does accuracy; in the binary
    case the ranking of rows by P(y = 1) does not change either, hence neither does AUROC.
    ``at_bound`` is true when the likelihood has no minimum inside the bounds and the temperature
    was put on one of them: separable data ask for 0, logits that say less than nothing for
    infinity.
    """

    method: Literal["temperature"] = "temperature"
    convention: Literal["softmax(logits / temperature)"] = "softmax(logits / temperature)"
    temperature: float = Field(gt=0.0)
    at_bound: bool

    @classmethod
    def fit(cls, logits: ArrayLike, labels: ArrayLike, groups: ArrayLike | None = None) -> Self:
        """Find the temperature of least negative log-likelihood.

        Works on log T in float64 with L-BFGS and a strong-Wolfe line search. The likelihood is
        convex in 1/T, so its slopes at the two bounds tell beforehand whether the minimum lies
        between them, and the minimum found is the only one.

        Args:
            logits: (N, K) finite scores, of the same kind (views, aggregation) as those served.
            labels: (N,) classes, at least two different ones.
            groups: not used: nothing is chosen.

        Raises:
            DataError: the arrays break the contract, or all labels are of one class.
            TrainingError: the optimiser did not converge.
        """
        scores = check_matrix(logits, "logits")
        classes = check_labels(labels, *scores.shape)
        require_classes(classes, "temperature")
        hottest, coldest = math.exp(LOG_TEMPERATURE_BOUND), math.exp(-LOG_TEMPERATURE_BOUND)
        if _slope(scores, classes, 1.0 / hottest) >= 0.0:
            return cls(temperature=hottest, at_bound=True)
        if _slope(scores, classes, 1.0 / coldest) <= 0.0:
            return cls(temperature=coldest, at_bound=True)
        temperature = _minimise(scores, classes)
        residual = abs(_slope(scores, classes, 1.0 / temperature)) / temperature
        if not residual <= _CONVERGED:
            raise TrainingError(
                f"the temperature did not converge (T = {temperature:.6g}, slope {residual:.1e} "
                f"after {_MAX_ITERATIONS} iterations); look for extreme logits."
            )
        return cls(temperature=temperature, at_bound=False)

    def calibrated(self, logits: ArrayLike) -> FloatArray:
        """Logits (N, K) divided by the temperature."""
        return check_matrix(logits, "logits") / self.temperature


def _slope(scores: FloatArray, labels: IntArray, inverse: float) -> float:
    """Slope of the mean negative log-likelihood in 1/T, at 1/T = ``inverse``."""
    gaps = scores - scores[np.arange(len(labels)), labels][:, None]
    return float((softmax(scores * inverse) * gaps).sum(axis=1).mean())


def _minimise(scores: FloatArray, labels: IntArray) -> float:
    """Temperature at which the mean negative log-likelihood is least."""
    import torch

    inputs, targets = torch.from_numpy(scores.copy()), torch.from_numpy(labels.copy())
    log_temperature = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [log_temperature],
        lr=1.0,
        max_iter=_MAX_ITERATIONS,
        tolerance_grad=1e-10,
        tolerance_change=1e-16,
        line_search_fn="strong_wolfe",
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(inputs * torch.exp(-log_temperature), targets)
        loss.backward()
        return loss

    optimizer.step(closure)
    return math.exp(log_temperature.item())
