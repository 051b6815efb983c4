"""Step of an ablation: one turn of the grouped cross-validation over TRAIN and VAL_SELECT."""

from __future__ import annotations

from typing import Annotated

from zenml import step

import materializers  # noqa: F401
from roadwork.ablation.folds import make_fold
from roadwork.data.manifest import SelectSet, TrainSet
from steps.caching import library_cache


@step(cache_policy=library_cache("roadwork.ablation.folds"))
def ablate_fold(
    train: TrainSet, select: SelectSet, folds: int, number: int, seed: int
) -> tuple[
    Annotated[TrainSet, "fold_train"],
    Annotated[SelectSet, "fold_select"],
    Annotated[SelectSet, "fold_judged"],
]:
    """Whole groups are dealt into folds: one is judged, one chooses the pass, the rest train."""
    fold = make_fold(train, select, folds, number, seed)
    return fold.train, fold.select, fold.judged
