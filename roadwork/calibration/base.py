"""What every calibrator shares: the contract of the arrays, the stable softmax, the base model.

Shapes: ``logits`` are (N, K) and ``labels`` are (N,) with values 0..K-1; K is 2 or more. Class 1 is
the positive one ("roadwork") when K is 2. Everything here needs numpy and pydantic only, because
calibrators are applied in serving.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from roadwork.errors import ConfigError, DataError

__all__ = [
    "Calibrator",
    "FloatArray",
    "IntArray",
    "check_labels",
    "check_matrix",
    "check_probabilities",
    "class_log_odds",
    "from_margin",
    "log_odds",
    "log_softmax",
    "margin",
    "require_classes",
    "softmax",
]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

# A softmax in half precision leaves row sums about 1e-3 off; anything worse is not a distribution.
ROW_SUM_TOLERANCE = 2e-3


class Calibrator(BaseModel, ABC):
    """A fitted map from logits to probabilities; frozen, and exact through JSON.

    Every method has a class method ``fit(logits, labels, groups=None)``: logits (N, K), labels
    (N,), and the group of every row (N,), for methods that choose a strength by cross-validation
    over groups. A method with parameters stores beside them ``convention``, the formula that they
    belong to, because libraries disagree (some store 1 / T as "temperature").

    Where the model serves, roadwork may be rarer or commoner than in the calibration set. If that
    is the only difference (label shift), the log odds change by a known number (Saerens, Latinne,
    Decaestecker, "Adjusting the Outputs of a Classifier to New a Priori Probabilities", Neural
    Computation 14(1), 2002, section 2). The two priors are parameters of the calibrator; both are
    None, and absent from the JSON form, where no shift is wanted.

    Attributes:
        calibration_prior: share of class 1 in the calibration set.
        deployment_prior: share of class 1 where the model serves.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    calibration_prior: float | None = Field(default=None, gt=0.0, lt=1.0)
    deployment_prior: float | None = Field(default=None, gt=0.0, lt=1.0)

    @model_validator(mode="after")
    def _both_priors(self) -> Self:
        if (self.calibration_prior is None) != (self.deployment_prior is None):
            raise ValueError("calibration_prior and deployment_prior must be given together")
        return self

    @model_serializer(mode="wrap")
    def _without_absent_priors(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        priors = {"calibration_prior", "deployment_prior"}
        return {
            key: value
            for key, value in write(self).items()
            if value is not None or key not in priors
        }

    @classmethod
    @abstractmethod
    def fit(cls, logits: ArrayLike, labels: ArrayLike, groups: ArrayLike | None = None) -> Self:
        """Fit on logits (N, K) and labels (N,); see the method."""

    @property
    def summary(self) -> str:
        """The method and its numbers, on one line; of lists the number of values alone."""
        values = self.model_dump(exclude={"method", "convention"})
        words = [f"{name} {_short(value)}" for name, value in values.items()]
        return f"{getattr(self, 'method', 'none')} ({', '.join(words)})"

    @abstractmethod
    def calibrated(self, logits: ArrayLike) -> FloatArray:
        """Calibrated logits (N, K), float64, at the prior of the calibration set."""

    def transform(self, logits: ArrayLike) -> FloatArray:
        """Turn logits (N, K) into calibrated probabilities (N, K), float64, rows summing to 1.

        Raises:
            DataError: the logits break the contract, or a shifted calibrator gets other than two
                classes.
        """
        scores = self.calibrated(logits)
        if self.calibration_prior is None or self.deployment_prior is None:
            return softmax(scores)
        if scores.shape[1] != 2:
            raise DataError(
                f"a deployment prior is defined for two classes, not for {scores.shape[1]}"
            )
        shift = log_odds(self.deployment_prior) - log_odds(self.calibration_prior)
        return softmax(scores + np.array([0.0, shift]))


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, tuple):
        count = sum(len(row) if isinstance(row, tuple) else 1 for row in value)
        return f"of {count} values"
    return str(value)


def log_odds(share: float) -> float:
    """log(p / (1 - p)) of a share in (0, 1)."""
    return float(np.log(share) - np.log1p(-share))


def check_matrix(values: ArrayLike, name: str) -> FloatArray:
    """Return ``values`` as a float64 (N, K) array, K >= 2; N may be 0.

    Raises:
        DataError: wrong number of axes, fewer than two columns, or a value that is not finite.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] < 2:
        raise DataError(
            f"{name} must have shape (N, K) with K >= 2, but have shape {array.shape}; "
            "give one column per class."
        )
    finite = np.isfinite(array).all(axis=1)
    if not finite.all():
        row = int(np.argmin(finite))
        raise DataError(
            f"{name} are not finite in {int((~finite).sum())} of {len(array)} rows, first in row "
            f"{row}; look for a diverged model or an overflow in half precision."
        )
    return array


def check_probabilities(values: ArrayLike, name: str = "probabilities") -> FloatArray:
    """Return ``values`` as float64 (N, K) probabilities.

    Raises:
        DataError: as ``check_matrix``; or a value outside [0, 1], or a row that does not sum to 1.
    """
    array = check_matrix(values, name)
    wrong = ((array < 0.0) | (array > 1.0)).any(axis=1)
    wrong |= np.abs(array.sum(axis=1) - 1.0) > ROW_SUM_TOLERANCE
    if wrong.any():
        raise DataError(
            f"{name} are no distribution in {int(wrong.sum())} of {len(array)} rows, first in row "
            f"{int(np.argmax(wrong))}; pass the output of a calibrator, not logits."
        )
    return array


def check_labels(labels: ArrayLike, rows: int, classes: int) -> IntArray:
    """Return ``labels`` as int64 (N,), with N equal to ``rows`` and at least 1.

    Raises:
        DataError: no rows, another length, labels that are not integers or not in 0..classes-1.
    """
    array = np.asarray(labels)
    if rows == 0:
        raise DataError("there are no rows: an empty set can neither be fitted on nor judged.")
    if array.shape != (rows,):
        raise DataError(f"labels must have shape ({rows},) like the rows, but have {array.shape}.")
    if array.dtype.kind not in "iub":
        raise DataError(f"labels must be integers 0..{classes - 1}, but have type {array.dtype}.")
    array = array.astype(np.int64)
    if array.min() < 0 or array.max() >= classes:
        raise DataError(
            f"labels must lie in 0..{classes - 1}, but reach from {array.min()} to {array.max()}; "
            "drop unlabelled rows first."
        )
    return array


def require_classes(labels: IntArray, title: str) -> None:
    """See that labels (N,) hold at least two classes.

    Raises:
        DataError: all are of one class; ``title`` says what cannot be fitted.
    """
    if labels.min() == labels.max():
        raise DataError(
            f"all {len(labels)} calibration labels are class {labels[0]}: no {title} can be "
            "fitted; calibrate on data with at least two classes."
        )


def margin(logits: ArrayLike, title: str) -> FloatArray:
    """Log odds of class 1, z_1 - z_0, (N,), of logits (N, 2).

    Raises:
        DataError: the logits break the contract.
        ConfigError: more than two classes, with the method that cannot have them as ``title``.
    """
    scores = check_matrix(logits, "logits")
    if scores.shape[1] != 2:
        raise ConfigError(
            f"{title} calibration is for two classes, and the logits have {scores.shape[1]}: use "
            "temperature, dirichlet_odir, dirichlet_l2, isotonic or histogram"
        )
    return scores[:, 1] - scores[:, 0]


def from_margin(odds: FloatArray) -> FloatArray:
    """Logits (N, 2) whose softmax has these log odds (N,) of class 1."""
    return np.stack([-odds / 2, odds / 2], axis=1)


def class_log_odds(logits: FloatArray) -> FloatArray:
    """Log odds of each class against the others, (N, M): of class 1 alone (M = 1) when K is 2."""
    if logits.shape[1] == 2:
        return logits[:, 1:] - logits[:, :1]
    columns = []
    for k in range(logits.shape[1]):
        others = np.delete(logits, k, axis=1)
        peak = others.max(axis=1)
        total = peak + np.log(np.exp(others - peak[:, None]).sum(axis=1))
        columns.append(logits[:, k] - total)
    return np.stack(columns, axis=1)


def log_softmax(logits: FloatArray) -> FloatArray:
    """Logarithm of the softmax over the last axis, stable for logits of any size."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def softmax(logits: FloatArray) -> FloatArray:
    """Softmax over the last axis, stable for logits of any size."""
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)
