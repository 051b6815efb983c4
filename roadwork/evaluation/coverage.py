"""What the prediction sets promised and what they did: coverage with exact intervals and bands."""

from __future__ import annotations

import numpy as np

import roadwork
from roadwork.conformal import CONFORMAL, ConformalPredictor, Promise
from roadwork.conformal.ranks import hits_band, shortfall_probability
from roadwork.evaluation.intervals import clopper_pearson, design_effect
from roadwork.evaluation.prediction_sets import covered
from roadwork.evaluation.record import ConformalRecord, Coverage
from roadwork.evaluation.scored import ScoredSet

__all__ = ["conformal_record"]

_OUTSIDE_BAND = 0.05


def conformal_record(scored: ScoredSet, predictor: ConformalPredictor) -> ConformalRecord:
    """Coverage, sizes and deferral of the sets of a scored set, beside what was promised.

    Raises:
        DataError: the scored set has no prediction sets.
    """
    hits = covered(scored)
    sets = scored.sets if scored.sets is not None else np.zeros(scored.probabilities.shape, bool)
    sizes = sets.sum(axis=1)
    method = str(predictor.model_dump()["method"])
    judged = predictor.judged(scored.probabilities)
    return ConformalRecord(
        method=method,
        title=CONFORMAL[method].title,
        alpha=predictor.alpha,
        target=1.0 - predictor.alpha,
        per_class=predictor.per == "class",
        guarantee=predictor.guarantee,
        note=(
            "The exact intervals and bands treat images as independent. These "
            f"{scored.n} images come from {scored.n_groups} groups, and images of one group "
            "resemble each other: the real uncertainty may be larger, which the intervals from "
            "resampled groups take into account."
        ),
        marginal=_coverage(hits[judged], _of(scored.groups, judged), predictor.promise(None)),
        classes={
            name: _coverage(
                hits[scored.labels == index],
                _of(scored.groups, scored.labels == index),
                predictor.promise(index),
            )
            for index, name in enumerate(roadwork.CLASSES)
        },
        empty=float((sizes == 0).mean()),
        singleton=float((sizes == 1).mean()),
        full=float((sizes == scored.n_classes).mean()),
        defer=float((~scored.answered).mean()),
        accepted=int(scored.answered.sum()),
        accepted_accuracy=_coverage(
            scored.correct[scored.answered],
            _of(scored.groups, scored.answered),
            None,
        ),
    )


def _of(groups: np.ndarray | None, rows: np.ndarray) -> np.ndarray | None:
    return None if groups is None else groups[rows]


def _coverage(hits: np.ndarray, groups: np.ndarray | None, promise: Promise | None) -> Coverage:
    n, count = len(hits), int(hits.sum())
    if n == 0:
        return Coverage(covered=0, n=0, value=None, low=None, high=None)
    low, high = clopper_pearson(count, n)
    effect = 1.0 if groups is None else design_effect(hits, groups)
    promised = {}
    if promise is not None:
        promised["chance"] = shortfall_probability(count, n, promise.points, promise.rank, effect)
    if promise is not None and promise.exact:
        lowest, highest = hits_band(promise.points, n, promise.rank, _OUTSIDE_BAND)
        promised |= {"band_low": lowest / n, "band_high": highest / n}
    return Coverage(
        covered=count,
        n=n,
        value=count / n,
        low=low,
        high=high,
        design_effect=effect,
        **promised,
    )
