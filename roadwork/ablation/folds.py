"""Grouped cross-validation over TRAIN and VAL_SELECT: each image is judged by a model without it.

Judging variants on the VAL_SELECT that chose their passes flatters all of them. Here whole groups
are dealt into k folds; in turn one fold is judged, the next one chooses the pass, and the others
train. Every image is judged once. What is judged is still selection data: the final figures of a
model come from VAL_TEST, which takes no part.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from roadwork import CLASSES
from roadwork.data.columns import encode
from roadwork.data.contract import validate_model_selection
from roadwork.data.manifest import SelectSet, TrainSet
from roadwork.errors import ConfigError, DataError

__all__ = ["Fold", "make_fold"]


@dataclass(frozen=True)
class Fold:
    """One turn of the cross-validation.

    Attributes:
        train: the k - 2 folds that weights are fitted on.
        select: the fold that chooses the pass and the temperature.
        judged: the fold that is scored.
    """

    train: TrainSet
    select: SelectSet
    judged: SelectSet


def make_fold(train: TrainSet, select: SelectSet, folds: int, number: int, seed: int) -> Fold:
    """Turn ``number`` of ``folds``; the same arguments deal the same folds.

    Labels within sources are spread over the folds as evenly as whole groups allow.

    Args:
        train: TRAIN.
        select: VAL_SELECT.
        folds: at least 3.
        number: from 0 to ``folds`` - 1.
        seed: of the dealing.

    Raises:
        LeakageError: sets of other roles, or overlapping ones.
        ConfigError: fewer than 3 folds, or no such fold.
        DataError: too few groups: a fold would lack a class.
    """
    validate_model_selection(train, select)
    if folds < 3 or not 0 <= number < folds:
        raise ConfigError(
            f"fold {number} of {folds}: there must be at least 3 folds (to train, to choose the "
            "pass, to judge), counted from 0"
        )
    table = pa.concat_tables([train.table, select.table]).sort_by("sample_id")
    fold_of_row = _deal(table, folds, seed)
    judging, choosing = fold_of_row == number, fold_of_row == (number + 1) % folds
    return Fold(
        TrainSet(table.filter(pa.array(~judging & ~choosing))),
        SelectSet(table.filter(pa.array(choosing))),
        SelectSet(table.filter(pa.array(judging))),
    )


def _deal(table: pa.Table, folds: int, seed: int) -> NDArray[np.int64]:
    """Number of the fold of every row, (N,)."""
    from sklearn.model_selection import StratifiedGroupKFold

    labels = table.column("label").to_numpy().astype(np.int64)
    groups, sources = (encode(table.column(name))[1] for name in ("group_id", "source"))
    strata = sources * len(CLASSES) + labels
    count = len(np.unique(groups))
    if count < folds:
        raise DataError(f"{count} groups cannot be dealt into {folds} folds: set fewer folds")
    dealer = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    fold_of_row = np.zeros(len(labels), dtype=np.int64)
    with warnings.catch_warnings():
        # A stratum may have fewer images than there are folds; the classes are checked below.
        warnings.simplefilter("ignore", UserWarning)
        for number, (_, rows) in enumerate(dealer.split(strata, strata, groups)):
            fold_of_row[rows] = number
    for number in range(folds):
        missing = set(range(len(CLASSES))) - set(labels[fold_of_row == number].tolist())
        if missing:
            raise DataError(
                f"fold {number} of {folds} would have no image of class "
                f"{CLASSES[min(missing)]}: set fewer folds under ablation.folds, or use more groups"
            )
    return fold_of_row
