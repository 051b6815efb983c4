"""The threshold that StreetVision would pay most for, chosen and judged on different groups."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roadwork.calibration.base import FloatArray
from roadwork.errors import DataError
from roadwork.evaluation.streetvision.reward import matthews

__all__ = ["best_threshold", "crossed_thresholds", "halve_groups", "logit"]

_CLOSEST = 1e-9  # answers nearer to 0 or 1 are taken for this near


def logit(probability: ArrayLike) -> FloatArray:
    """log(p / (1 - p)), with p kept 1e-9 away from 0 and 1."""
    values = np.clip(np.asarray(probability, dtype=np.float64), _CLOSEST, 1 - _CLOSEST)
    return np.log(values) - np.log1p(-values)


def best_threshold(answers: ArrayLike, labels: ArrayLike) -> float:
    """Threshold of the largest MCC at equal shares of both classes, as challenges have them.

    Thresholds midway (in the logit) between neighbouring answers are tried, and 0.5; of equals
    the one nearest to 0.5 is taken. An answer above the threshold says "roadwork".

    Args:
        answers: (N,) probabilities.
        labels: (N,) zeros and ones.

    Raises:
        DataError: only one class is there.
    """
    scores = logit(answers)
    truth = np.asarray(labels).astype(np.bool_)
    if truth.all() or not truth.any():
        raise DataError("a threshold needs challenges of both labels")
    places = np.unique(scores)
    tried = np.append((places[:-1] + places[1:]) / 2, 0.0)
    hits = _share_above(scores[truth], tried)
    alarms = _share_above(scores[~truth], tried)
    mcc = np.nan_to_num(matthews(hits, 1 - hits, alarms, 1 - alarms))
    best = np.flatnonzero(mcc >= mcc.max() - 1e-12)
    return 1 / (1 + math.exp(-float(tried[best[np.abs(tried[best]).argmin()]])))


def _share_above(scores: FloatArray, tried: FloatArray) -> FloatArray:
    ranks = np.searchsorted(np.sort(scores), tried, side="right")
    return 1.0 - ranks / len(scores)


def halve_groups(
    groups: NDArray[np.int64], labels: ArrayLike, seed: int
) -> NDArray[np.int64] | None:
    """Half, 0 or 1, of every group, with both labels in both halves; None where that fails.

    Args:
        groups: (N,) group numbers 0..G-1.
        labels: (N,) zeros and ones.
        seed: of the order in which groups are placed.

    Returns:
        (G,) halves. Groups are placed one after the other, the larger first, where the half has
        fewer of the group's more frequent label.
    """
    truth = np.asarray(labels).astype(np.int64)
    counts = np.zeros((int(groups.max()) + 1, 2))
    np.add.at(counts, (groups, truth), 1)
    order = np.random.default_rng(seed).permutation(len(counts))
    order = order[np.argsort(-counts[order].sum(axis=1), kind="stable")]
    have = np.zeros((2, 2))
    halves = np.zeros(len(counts), dtype=np.int64)
    for group in order:
        label = int(counts[group].argmax())
        halves[group] = int(have[1, label] < have[0, label])
        have[halves[group]] += counts[group]
    return halves if (have > 0).all() else None


def crossed_thresholds(
    answers: FloatArray, labels: ArrayLike, half_of: NDArray[np.int64]
) -> tuple[float, float]:
    """Thresholds by which half 0 and half 1 are decided: each is fitted on the other half.

    Args:
        answers: (N,) probabilities.
        labels: (N,) zeros and ones, both in both halves.
        half_of: (N,) zeros and ones.
    """
    truth = np.asarray(labels)
    first, second = (
        best_threshold(answers[half_of == other], truth[half_of == other]) for other in (1, 0)
    )
    return first, second
