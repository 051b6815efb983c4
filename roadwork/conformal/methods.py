"""From settings to a fitted predictor: one function for every family of methods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, cast

from numpy.typing import ArrayLike

from roadwork.conformal.crcp import CrcpConformal
from roadwork.conformal.mondrian import MondrianConformal
from roadwork.conformal.rc3p import Rc3pConformal
from roadwork.conformal.rows import Rows
from roadwork.conformal.scores import Score
from roadwork.conformal.scrc import ScrcConformal
from roadwork.conformal.slices import SliceConformal
from roadwork.conformal.split import SplitConformal
from roadwork.errors import ConfigError
from roadwork.settings.conformal import ConformalSettings

__all__ = [
    "Points",
    "fit_crcp",
    "fit_mondrian",
    "fit_rc3p",
    "fit_scrc",
    "fit_slices",
    "fit_split",
]


@dataclass(frozen=True, eq=False)
class Points:
    """The calibration points: probabilities (N, K), labels (N,), groups (N,), ids and slices."""

    probabilities: ArrayLike
    labels: ArrayLike
    groups: ArrayLike | None = None
    rows: Rows | None = None


def fit_split(asked: ConformalSettings, points: Points, seed: int) -> SplitConformal:
    """One threshold on the score that names the method."""
    noise = asked.label_noise if isinstance(asked.label_noise, float) else None
    return SplitConformal.fit(
        points.probabilities,
        points.labels,
        asked.alpha,
        delta=asked.delta,
        label_noise=noise,
        counting=asked.groups,
        **_common(asked, points, seed),
    )


def fit_mondrian(asked: ConformalSettings, points: Points, seed: int) -> MondrianConformal:
    """One threshold for every class."""
    return MondrianConformal.fit(
        points.probabilities,
        points.labels,
        asked.alpha,
        delta=asked.delta,
        counting=asked.groups,
        **_common(asked, points, seed),
    )


def fit_slices(asked: ConformalSettings, points: Points, seed: int) -> SliceConformal:
    """One threshold for every slice."""
    if asked.slice is None or points.rows is None or points.rows.slices is None:
        raise ConfigError("conformal.method: mondrian_slice needs the slice of every point.")
    return SliceConformal.fit(
        points.probabilities,
        points.labels,
        asked.alpha,
        column=asked.slice,
        slices=points.rows.slices,
        delta=asked.delta,
        counting=asked.groups,
        **_common(asked, points, seed),
    )


def fit_rc3p(asked: ConformalSettings, points: Points, seed: int) -> Rc3pConformal:
    """Rank and threshold for every class."""
    return Rc3pConformal.fit(
        points.probabilities,
        points.labels,
        asked.alpha,
        counting=_images_or_drawn(asked),
        **_common(asked, points, seed),
    )


def fit_scrc(asked: ConformalSettings, points: Points, seed: int) -> ScrcConformal:
    """A cutoff of the confidence, and thresholds for those beyond it."""
    if asked.selection is None:
        raise ConfigError("conformal.method: scrc needs conformal.selection.")
    return ScrcConformal.fit(
        points.probabilities,
        points.labels,
        asked.alpha,
        selection=asked.selection,
        delta=asked.delta,
        counting=_images_or_drawn(asked),
        **_common(asked, points, seed),
    )


def fit_crcp(asked: ConformalSettings, points: Points, seed: int) -> CrcpConformal:
    """One threshold for true labels, from given ones."""
    return CrcpConformal.fit(
        points.probabilities,
        points.labels,
        asked.alpha,
        truth_given=cast(ArrayLike, asked.label_noise),
        counting=_images_or_drawn(asked),
        **_common(asked, points, seed),
    )


def _common(asked: ConformalSettings, points: Points, seed: int) -> dict[str, Any]:
    score = Score.model_validate(
        {
            "name": asked.score_name,
            "seed": seed if asked.randomised else None,
            "penalty": asked.penalty,
            "k_reg": asked.k_reg,
            "weight": asked.weight,
        }
    )
    return {"groups": points.groups, "rows": points.rows, "score": score, "seed": seed}


def _images_or_drawn(asked: ConformalSettings) -> Literal["images", "drawn"]:
    if asked.groups == "largest":
        raise ConfigError(f"conformal.groups: largest does not go with {asked.method}.")
    return asked.groups
