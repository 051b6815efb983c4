"""No calibration: the softmax of the logits as they are, the baseline of every comparison."""

from __future__ import annotations

from typing import Literal, Self

from numpy.typing import ArrayLike

from roadwork.calibration.base import Calibrator, FloatArray, check_labels, check_matrix

__all__ = ["Identity"]


class Identity(Calibrator):
    """The plain softmax."""

    method: Literal["identity"] = "identity"

    @classmethod
    def fit(cls, logits: ArrayLike, labels: ArrayLike, groups: ArrayLike | None = None) -> Self:
        """Check the arrays, logits (N, K) and labels (N,), and learn nothing from them.

        Raises:
            DataError: the arrays break the contract of ``roadwork.calibration.base``.
        """
        scores = check_matrix(logits, "logits")
        check_labels(labels, *scores.shape)
        return cls()

    def calibrated(self, logits: ArrayLike) -> FloatArray:
        """The logits (N, K) as they are."""
        return check_matrix(logits, "logits")
