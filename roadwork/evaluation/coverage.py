"""What the prediction sets promised and what they did: coverage with exact intervals and bands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

import roadwork
from roadwork.conformal import CONFORMAL, ConformalPredictor, Promise
from roadwork.conformal.ranks import hits_band, shortfall_probability
from roadwork.evaluation.intervals import clopper_pearson, design_effect
from roadwork.evaluation.prediction_sets import covered
from roadwork.evaluation.promise_record import (
    ConformalRecord,
    Coverage,
    SizeCoverage,
    SliceCoverage,
)
from roadwork.evaluation.scored import ScoredSet
from roadwork.evaluation.slices import slice_rows

__all__ = ["conformal_record", "share_held"]

_OUTSIDE_BAND = 0.05


def conformal_record(
    scored: ScoredSet,
    predictor: ConformalPredictor,
    columns: Mapping[str, Sequence[object]] | None = None,
) -> ConformalRecord:
    """Coverage, sizes and deferral of the sets of a scored set, beside what was promised.

    Args:
        scored: with its prediction sets.
        predictor: gave them.
        columns: (N,) values of every column whose slices are counted.

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
        marginal=share_held(hits[judged], _of(scored.groups, judged), predictor.promise(None)),
        classes={
            name: share_held(
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
        accepted_accuracy=share_held(
            scored.correct[scored.answered],
            _of(scored.groups, scored.answered),
        ),
        fitted_groups=predictor.n_groups,
        sizes=tuple(
            SizeCoverage(
                size=size,
                coverage=share_held(hits[sizes == size], _of(scored.groups, sizes == size)),
            )
            for size in range(scored.n_classes + 1)
        ),
        slices=tuple(
            SliceCoverage(
                column=column,
                name=name,
                coverage=share_held(hits[rows], _of(scored.groups, rows)),
            )
            for column, values in (columns or {}).items()
            for name, rows in slice_rows(values).items()
        ),
    )


def _of(groups: np.ndarray | None, rows: np.ndarray) -> np.ndarray | None:
    return None if groups is None else groups[rows]


def share_held(
    hits: np.ndarray, groups: np.ndarray | None, promise: Promise | None = None
) -> Coverage:
    """How often something held among the rows of ``hits`` (N,), with what was promised of them.

    Args:
        hits: (N,) booleans.
        groups: (N,) group of every row.
        promise: what stands behind it, if anything was promised.
    """
    n, count = len(hits), int(hits.sum())
    if n == 0:
        return Coverage(covered=0, n=0, value=None, low=None, high=None)
    low, high = clopper_pearson(count, n)
    effect = 1.0 if groups is None else design_effect(hits, groups)
    promised = {}
    if promise is not None:
        promised["points"] = promise.points
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
