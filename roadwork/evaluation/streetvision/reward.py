"""What StreetVision pays: the reward of every answer, and the score that follows it.

Source: ``natix/validator/reward.py``, ``miner_performance_tracker.py`` and ``base/validator.py`` of
natixnetwork/streetvision-subnet, commit 28a1755. For an answer p to a challenge with label y:

    r = (0.5 * max(0, MCC over the last 100) + 0.5 * accuracy over the last 10)^3,

this challenge included; 0 where p lies outside [0, 1]; the score is an exponential moving average
of r with weight 0.05, from 0. A decision is ``round(p)``, half to even: p = 0.5 says "none".

A challenge without an answer (-1) earns 0. It is in neither metric, and yet takes a place in both
windows. An answer that does not round to 0 or 1 (below -0.5, from 1.5 on, or not a number) breaks
the metrics of every window that holds it: scikit-learn refuses them, and the subnet takes 0.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roadwork.calibration.base import FloatArray
from roadwork.errors import DataError

__all__ = [
    "ACCURACY_WINDOW",
    "EXPONENT",
    "MCC_WINDOW",
    "NO_ANSWER",
    "SCORE_WEIGHT",
    "Earned",
    "RewardHistory",
    "decide",
    "matthews",
    "reward_paths",
]

MCC_WINDOW = 100
ACCURACY_WINDOW = 10
EXPONENT = 3
SCORE_WEIGHT = 0.05
NO_ANSWER = -1.0


@dataclass(frozen=True)
class Earned:
    """What one challenge brought.

    Attributes:
        reward: the cubed reward.
        mcc: max(0, MCC) over the last 100.
        accuracy: over the last 10.
        score: moving average after this challenge.
    """

    reward: float
    mcc: float
    accuracy: float
    score: float


class RewardHistory:
    """One miner's history with one validator, challenge by challenge."""

    def __init__(self) -> None:
        self._answers: deque[float] = deque(maxlen=MCC_WINDOW)
        self._labels: deque[int] = deque(maxlen=MCC_WINDOW)
        self.score = 0.0

    def add(self, answer: float | None, label: int) -> Earned:
        """Enter one challenge.

        Args:
            answer: P(roadwork) as the miner gives it; None or -1 is no answer.
            label: 1 for roadwork, 0 for none.

        Raises:
            DataError: the label is neither 0 nor 1.
        """
        if label not in (0, 1):
            raise DataError(f"a challenge has the label 0 or 1, not {label!r}")
        given = NO_ANSWER if answer is None else float(answer)
        self._answers.append(given)
        self._labels.append(label)
        mcc = self._metrics(MCC_WINDOW)[0]
        accuracy = self._metrics(ACCURACY_WINDOW)[1]
        if given == NO_ANSWER or given < 0.0 or given > 1.0:
            reward = 0.0
        else:
            reward = (0.5 * mcc + 0.5 * accuracy) ** EXPONENT
        self.score = SCORE_WEIGHT * reward + (1 - SCORE_WEIGHT) * self.score
        return Earned(reward, mcc, accuracy, self.score)

    def _metrics(self, window: int) -> tuple[float, float]:
        """max(0, MCC) and accuracy of the last ``window`` challenges."""
        rows = list(zip(self._answers, self._labels, strict=True))[-window:]
        kept = [(answer, label) for answer, label in rows if answer != NO_ANSWER]
        if not kept or not all(math.isfinite(answer) for answer, _ in kept):
            return 0.0, 0.0
        # Python rounds half to even, as numpy does; -0.0 and 0.0 become one value.
        decisions = [round(answer) for answer, _ in kept]
        labels = [label for _, label in kept]
        values = {*decisions, *labels}
        # What scikit-learn calls binary with 1 as the positive class; else it raises.
        if len(values) > 2 or (len(values) == 2 and 1 not in values):
            return 0.0, 0.0
        cells = [
            sum(pair == cell for pair in zip(labels, decisions, strict=True))
            for cell in ((1, 1), (1, 0), (0, 1), (0, 0))
        ]
        accuracy = (cells[0] + cells[3]) / len(kept)
        return float(np.maximum(0.0, np.nan_to_num(matthews(*cells)))), accuracy


def decide(answers: ArrayLike, threshold: float | NDArray[np.float64] = 0.5) -> NDArray[np.bool_]:
    """Whether probabilities in [0, 1] say "roadwork": above 0.5, as ``round`` decides."""
    return np.asarray(answers, dtype=np.float64) > threshold


def matthews(
    hits: ArrayLike, misses: ArrayLike, alarms: ArrayLike, passes: ArrayLike
) -> FloatArray:
    """Matthews correlation of counts: TP, FN, FP, TN; NaN where a class is absent."""
    tp, fn, fp, tn = (
        np.asarray(count, dtype=np.float64) for count in (hits, misses, alarms, passes)
    )
    spread = (tp + fn) * (fp + tn) * (tp + fp) * (fn + tn)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(spread > 0, (tp * tn - fp * fn) / np.sqrt(spread), np.nan)


def reward_paths(decisions: ArrayLike, labels: ArrayLike) -> FloatArray:
    """Rewards of many histories in which every challenge was answered in [0, 1].

    Args:
        decisions: (B, T) booleans, in the order of the challenges.
        labels: (B, T) or (T,) zeros and ones.

    Returns:
        (B, T) cubed rewards; equal to those of :class:`RewardHistory` up to rounding.
    """
    said = np.atleast_2d(np.asarray(decisions, dtype=np.bool_))
    truth = np.broadcast_to(np.asarray(labels).astype(np.bool_), said.shape)
    cells = np.stack([truth & said, truth & ~said, ~truth & said, ~truth & ~said], axis=-1)
    totals = np.cumsum(cells, axis=1, dtype=np.int32)
    hundred = _last(totals, MCC_WINDOW)
    ten = _last(totals, ACCURACY_WINDOW)
    mcc = np.nan_to_num(matthews(*np.moveaxis(hundred, -1, 0)))
    accuracy = (ten[..., 0] + ten[..., 3]) / ten.sum(axis=-1)
    return (0.5 * np.maximum(0.0, mcc) + 0.5 * accuracy) ** EXPONENT


def _last(totals: NDArray[np.int32], window: int) -> NDArray[np.int32]:
    """Counts over the last ``window`` challenges, from running totals (B, T, 4)."""
    counts = totals.copy()
    counts[:, window:] -= totals[:, :-window]
    return counts
