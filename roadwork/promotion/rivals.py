"""The candidate beside the champion: on all common test images, and in every slice of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from roadwork.data.exposure import Exposure
from roadwork.evaluation.holm import least_resamples
from roadwork.evaluation.scored import ScoredSet
from roadwork.evaluation.slice_tests import slice_changes
from roadwork.evaluation.slices import slice_rows
from roadwork.evidence import Champion, Opening
from roadwork.pairing import TestScores, UnpairableError, pair
from roadwork.promotion.exchange import exchange_p_value
from roadwork.promotion.superiority import compare_figure, resamples_for
from roadwork.settings import PromoteSettings

__all__ = ["Contender", "meet"]


@dataclass(frozen=True)
class Contender:
    """One model: what it answered on its test set, and what it has seen."""

    scores: TestScores
    exposure: Exposure


def meet(
    candidate: Contender,
    champion: Contender,
    settings: PromoteSettings,
    opening: Opening,
    *,
    version: str,
    resamples: int,
    seed: int,
) -> Champion:
    """Compare two models on the images that both were tested on.

    A candidate that cannot be compared gives a champion with the reason, and opens nothing.

    Args:
        candidate: the new model.
        champion: the one that serves.
        settings: figures, margins, slices.
        opening: level of the comparison.
        version: of the champion.
        resamples: for slices, at least; the other figures need as many as their level asks for.
        seed: of the resampling.
    """
    try:
        ours, theirs = pair(
            candidate.scores, champion.scores, (candidate.exposure, champion.exposure)
        )
    except UnpairableError as error:
        return Champion(version=version, bundle_hash=opening.champion, reason=str(error))
    first = _scored(theirs, ours.groups)
    second = _scored(ours, ours.groups)
    level = opening.level
    better = compare_figure(settings.better, second, first, level=level, seed=seed)
    p = exchange_p_value(settings.better, second, first, exchanges=resamples_for(level), seed=seed)
    columns = {name: ours.slices[name] for name in settings.slices if name in ours.slices}
    slices = sum(len(slice_rows(values)) for values in columns.values())
    return Champion(
        version=version,
        bundle_hash=opening.champion,
        opening=opening,
        comparisons=(
            better.model_copy(update={"p": p}),
            *(
                compare_figure(figure, second, first, level=level, margin=margin, seed=seed)
                for figure, margin in settings.not_worse.items()
            ),
        ),
        slices=slice_changes(
            first,
            second,
            columns,
            settings.slice_figure,
            resamples=max(resamples, least_resamples(slices)),
            seed=seed,
        ),
    )


def _scored(scores: TestScores, groups: np.ndarray) -> ScoredSet:
    """One grouping for both, because groups may have been merged in between."""
    positive = scores.probabilities
    return ScoredSet(np.stack([1.0 - positive, positive], axis=1), scores.labels, groups=groups)
