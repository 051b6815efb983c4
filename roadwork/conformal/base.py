"""What every conformal predictor shares: the base model, its promises and their words.

A set may be empty: no label is plausible enough. **An empty set is a reason to defer**, like a set
of several labels (:mod:`roadwork.deferral`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field

from roadwork.calibration.base import FloatArray, check_probabilities
from roadwork.conformal.groups import Counting
from roadwork.conformal.ranks import minimum_points
from roadwork.conformal.rows import Rows
from roadwork.errors import DataError

__all__ = [
    "BoolArray",
    "ConformalPredictor",
    "Promise",
    "check_width",
    "class_names",
    "group_caveat",
    "image_of",
    "percent",
    "surely",
    "too_few",
]

BoolArray = NDArray[np.bool_]

_BINARY_CLASSES = ("none", "roadwork")


@dataclass(frozen=True)
class Promise:
    """What stands behind a promise of coverage.

    Attributes:
        points: images, or groups where one of each counts.
        rank: of the threshold among their scores; None: too few points, the label is in every set.
        exact: hits among new independent images follow BetaBinomial(m, rank, points + 1 - rank),
            for untied scores. Where it is False that law is only a measure of how far chance may
            take a kept promise; ``rank`` is then that of a plain predictor of the same target.
    """

    points: int
    rank: int | None
    exact: bool


class ConformalPredictor(BaseModel, ABC):
    """A fitted map from probabilities to prediction sets; frozen, and exact through JSON.

    ``alpha`` is the allowed share of misses. A threshold of None means "unbounded": there were too
    few points for a finite one, and the label is always in the set. ``n_groups`` counts the groups
    (drives) that the points came from, where it is known.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    # What a promise is made for: images of all classes together, of each class, of each slice.
    per: ClassVar[str] = "all"

    alpha: float = Field(gt=0.0, lt=1.0)
    n_groups: int | None = Field(default=None, ge=1)

    def predict_set(self, probabilities: ArrayLike, rows: Rows | None = None) -> BoolArray:
        """Sets for probabilities (N, K), as booleans (N, K): true where the label is in the set.

        Args:
            probabilities: (N, K), rows summing to 1.
            rows: identities, which a randomised score needs, and slices, where they are known.

        Raises:
            DataError: no probabilities, or not of the classes that it was fitted on.
            ConfigError: the score is randomised and the identities are not given.
        """
        return self._sets(check_probabilities(probabilities), rows)

    @abstractmethod
    def _sets(self, table: FloatArray, rows: Rows | None) -> BoolArray:
        """As :meth:`predict_set`, for checked probabilities."""

    def judged(self, probabilities: ArrayLike) -> BoolArray:
        """Rows (N,) that the promise is about: all, unless the method selects."""
        return np.ones(len(check_probabilities(probabilities)), dtype=np.bool_)

    @property
    def needs_ids(self) -> bool:
        """Whether :meth:`predict_set` needs the identities of the images."""
        return False

    @abstractmethod
    def promise(self, label: int | None) -> Promise | None:
        """What is promised of images of class ``label``, or of all for None; None for nothing."""

    @property
    @abstractmethod
    def guarantee(self) -> str:
        """What holds, for whom, and from how many points, in plain English."""


def percent(alpha: float) -> str:
    """Coverage 1 - ``alpha`` as it is written in a sentence, such as "90 %"."""
    return f"{100.0 * (1.0 - alpha):.6g} %"


def surely(delta: float | None) -> str:
    """How a sentence about a promise with confidence 1 - ``delta`` begins."""
    if delta is None:
        return ""
    return f"With {percent(delta)} confidence over the draw of independent conformal points: "


def image_of(counting: Counting, points: str, whose: str = "") -> str:
    """Whom a promise is for, and what holds for it, up to "with probability".

    Args:
        counting: which points count.
        points: their number, such as "40 "; may be empty.
        whose: narrows them down, such as " of its own class".
    """
    if counting == "images":
        return (
            f"for a new image exchangeable with the {points}conformal images{whose}, the "
            "prediction set contains the true label"
        )
    if counting == "drawn":
        return (
            f"for an image{whose} that is drawn by lot from a new group exchangeable with the "
            f"{points}conformal groups, of which one image each counts, the prediction set "
            "contains the true label"
        )
    return (
        f"for a new group exchangeable with the {points}conformal groups, of which the strangest "
        f"image{whose} each counts, the prediction sets of all its images{whose} contain the true "
        "label, without exception,"
    )


def group_caveat(n: int, n_groups: int | None, counting: Counting = "images") -> str:
    """The sentence to add when several points that count share a group, otherwise nothing."""
    if counting != "images" or n_groups is None or n_groups == n:
        return ""
    return (
        f" The {n} images come from only {n_groups} groups, and images of one group resemble each "
        "other: for images of new groups the promise holds only roughly."
    )


def too_few(n: int, alpha: float, delta: float | None, counting: Counting) -> str:
    """The sentence of a predictor whose every set holds every label."""
    unit = "images" if counting == "images" else "groups"
    return (
        f"{n} conformal {unit} are too few for {percent(alpha)} coverage "
        f"(at least {minimum_points(alpha, delta)} are needed): every set holds every label."
    )


def class_names(width: int, names: tuple[str, ...] | None) -> tuple[str, ...]:
    """K names of classes: those given, or "none" and "roadwork" for two, else the numbers.

    Raises:
        DataError: there are not K names.
    """
    default = _BINARY_CLASSES if width == 2 else tuple(str(k) for k in range(width))
    found = default if names is None else tuple(names)
    if len(found) != width:
        raise DataError(f"{width} classes need {width} names, but {len(found)} were given.")
    return found


def check_width(table: FloatArray, classes: tuple[str, ...]) -> None:
    """Refuse probabilities of another number of classes.

    Raises:
        DataError: the number of columns is not the number of classes.
    """
    if table.shape[1] != len(classes):
        raise DataError(
            f"this predictor knows {len(classes)} classes ({', '.join(classes)}), "
            f"but the probabilities have {table.shape[1]} columns."
        )
