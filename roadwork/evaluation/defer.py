"""A defer threshold on the test set: what it accepts, and how often that is wrong."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from roadwork import POSITIVE
from roadwork.cascade.learn_then_test import GroupVotes
from roadwork.evaluation.coverage import share_held
from roadwork.evaluation.promise_record import DeferRecord
from roadwork.evaluation.scored import ScoredSet
from roadwork.risk_control.defer import DeferThreshold

__all__ = ["defer_record"]


def defer_record(scored: ScoredSet, threshold: DeferThreshold) -> DeferRecord:
    """Judge a threshold on a scored set that nothing was fitted on."""
    accepted = threshold.accepts(scored.probabilities)
    roadwork = accepted & (scored.labels == POSITIVE)
    groups, promise = scored.groups, threshold.promise
    error, n_groups = _by_group(scored, accepted)
    missed, n_roadwork = _by_group(scored, roadwork)
    return DeferRecord(
        threshold=threshold.threshold,
        max_error=promise.max_error,
        max_missed=promise.max_missed,
        delta=promise.delta,
        guarantee=threshold.guarantee,
        needed=threshold.needed,
        accepted=float(accepted.mean()),
        right=share_held(scored.correct[accepted], None if groups is None else groups[accepted]),
        found=share_held(scored.correct[roadwork], None if groups is None else groups[roadwork]),
        groups=n_groups,
        roadwork_groups=n_roadwork,
        group_error=error,
        group_missed=missed,
    )


def _by_group(scored: ScoredSet, counted: NDArray[np.bool_]) -> tuple[float | None, int]:
    """Mean over groups of the share of wrong answers among the counted rows, and the groups."""
    votes = GroupVotes.of(scored.groups, counted)
    if votes.n == 0:
        return None, 0
    return min(1.0, float(votes.weights[~scored.correct].sum()) / votes.n), votes.n
