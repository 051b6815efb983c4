"""Is a first stage sure where it is right? The measures of the Gatekeeper paper.

Rabanser et al., "Gatekeeper: Improving Model Cascades Through Confidence Tuning", NeurIPS 2025
(2502.19335): the deferral performance s_d, the overlap s_o of the confidences of right and wrong
answers, and the AUROC of confidence for being right. The formulas are those that two independent
re-implementations share; they differ in how s_o estimates densities, and ours is a histogram.

Confidence is the larger probability. Every function takes row weights (B, N) and gives (B,), NaN
where undefined.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from roadwork.calibration.base import FloatArray
from roadwork.cascade.simulate import CascadeScores
from roadwork.evaluation.scored import ScoredSet, ratio

__all__ = [
    "CONFIDENCE_METRICS",
    "ConfidenceMetric",
    "confidence_overlap",
    "deferral_performance",
    "right_wrong_auroc",
]

_BINS = 20


def deferral_performance(scores: CascadeScores, weights: FloatArray) -> FloatArray:
    """s_d: how much of the way from random to ideal deferral the cascade goes; higher is better.

    With r the share that is passed on, the least confident first:
    ``s_d = int (real - random) dr / int (ideal - random) dr``, where random accuracy is
    ``(1 - r) a1 + r a2`` and ideal accuracy rises by ``(a2 - a1) / (1 - a1)`` a passed image until
    r = 1 - a1 and is a2 from there on; a1 and a2 are the stages' accuracies. The denominator is
    ``a1 (a2 - a1) / 2``. The real curve is linear within images of equal confidence, which is its
    mean over their orders.

    The "ideal" takes stage 2 to be right on stage 1's errors as often as is needed to end at a2,
    and to change no right answer; where the stages err on different images the value
    can be above 1. It is undefined unless a2 > a1 > 0.
    """
    ranking = scores.first.confidence_ranking
    right_1, right_2 = scores.first.correct, scores.second.correct
    total = weights.sum(axis=1, keepdims=True)
    second = (weights * right_2).sum(axis=1, keepdims=True)
    gained = np.cumsum(ranking.tally(weights * right_1) - ranking.tally(weights * right_2), axis=1)
    real = ratio(np.concatenate([second, second + gained], axis=1), total)
    widths = ratio(ranking.tally(weights), total)
    area = (widths * (real[:, 1:] + real[:, :-1]) / 2).sum(axis=1)
    a1, a2 = real[:, -1], real[:, 0]
    room = np.where(a2 > a1, a1 * (a2 - a1) / 2, 0.0)
    return ratio(area - (a1 + a2) / 2, room)


def confidence_overlap(scored: ScoredSet, weights: FloatArray) -> FloatArray:
    """s_o: the common area of the confidence densities of right and wrong answers, in [0, 1].

    Lower is better. The densities are histograms of 20 equal bins over [1/K, 1]; with few wrong
    answers the histogram, and so the overlap, is too small. Undefined unless both kinds occur.
    """
    floor = 1.0 / scored.n_classes
    place = np.floor((scored.confidence - floor) / (1.0 - floor) * _BINS).astype(np.int64)
    member = np.eye(_BINS)[np.clip(place, 0, _BINS - 1)]
    right = weights * scored.correct
    wrong = weights * ~scored.correct
    shares = [ratio(part @ member, part.sum(axis=1, keepdims=True)) for part in (right, wrong)]
    return np.minimum(*shares).sum(axis=1)


def right_wrong_auroc(scored: ScoredSet, weights: FloatArray) -> FloatArray:
    """Chance that a right answer is more confident than a wrong one, ties counting one half.

    Undefined unless both kinds occur.
    """
    ranking = scored.confidence_ranking
    right = ranking.tally(weights * scored.correct)
    wrong = ranking.tally(weights * ~scored.correct)
    total = wrong.sum(axis=1, keepdims=True)
    below = total - np.cumsum(wrong, axis=1) + wrong / 2
    return ratio((right * below).sum(axis=1), right.sum(axis=1) * total[:, 0])


@dataclass(frozen=True)
class ConfidenceMetric:
    """One measure: ``batch(scores, weights)`` gives (B,); ``undefined`` says why a NaN is one."""

    title: str
    higher_is_better: bool
    batch: Callable[[CascadeScores, FloatArray], FloatArray]
    undefined: str


_ALIKE = "stage 1 is always right or always wrong"

CONFIDENCE_METRICS: Mapping[str, ConfidenceMetric] = MappingProxyType(
    {
        "deferral_performance": ConfidenceMetric(
            "Deferral performance s_d",
            True,
            deferral_performance,
            "stage 2 is not more accurate than stage 1, or stage 1 is never right",
        ),
        "confidence_overlap": ConfidenceMetric(
            "Overlap of confidences s_o (20 bins)",
            False,
            lambda scores, weights: confidence_overlap(scores.first, weights),
            _ALIKE,
        ),
        "right_wrong_auroc": ConfidenceMetric(
            "AUROC of confidence for being right",
            True,
            lambda scores, weights: right_wrong_auroc(scores.first, weights),
            _ALIKE,
        ),
    }
)
