"""What every conformal predictor shares: the base model and the words of its promise."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field

from roadwork.errors import DataError

__all__ = ["BoolArray", "ConformalPredictor", "count_groups", "group_caveat", "percent"]

BoolArray = NDArray[np.bool_]


class ConformalPredictor(BaseModel, ABC):
    """A fitted map from probabilities to prediction sets; frozen, and exact through JSON.

    ``alpha`` is the allowed share of misses. A threshold of None means "unbounded": there were too
    few points for a finite one, and the label is always in the set. ``n_groups`` counts the groups
    (drives) that the points came from, where it is known.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    alpha: float = Field(gt=0.0, lt=1.0)
    n_groups: int | None = Field(default=None, ge=1)

    @abstractmethod
    def predict_set(self, probabilities: ArrayLike) -> BoolArray:
        """Sets for probabilities (N, K), as booleans (N, K): true where the label is in the set."""

    @property
    @abstractmethod
    def guarantee(self) -> str:
        """What holds, for whom, and from how many points, in plain English."""


def percent(alpha: float) -> str:
    """Coverage 1 - ``alpha`` as it is written in a sentence, such as "90 %"."""
    return f"{100.0 * (1.0 - alpha):.6g} %"


def count_groups(groups: ArrayLike | None, rows: int) -> int | None:
    """Number of different groups among ``rows`` points, or None when groups are not given.

    Raises:
        DataError: there is not one group per row.
    """
    if groups is None:
        return None
    array = np.asarray(groups)
    if array.shape != (rows,):
        raise DataError(f"groups must have shape ({rows},) like the rows, but have {array.shape}.")
    return len(np.unique(array))


def group_caveat(n: int, n_groups: int | None) -> str:
    """The sentence to add when several points share a group, otherwise nothing."""
    if n_groups is None or n_groups == n:
        return ""
    return (
        f" The {n} images come from only {n_groups} groups, and images of one group resemble each "
        "other: for images of new groups the promise holds only roughly."
    )
