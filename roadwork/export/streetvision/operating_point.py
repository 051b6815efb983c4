"""The operating point: which probability becomes 0.5, the only threshold that StreetVision knows.

A validator rounds the answer, so that a model whose best threshold is t must answer with
sigmoid(logit(p) - logit(t)): the order of answers stays, and t comes to lie at 0.5.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from roadwork.data.manifest import SampleSet
from roadwork.errors import ConfigError
from roadwork.evaluation.streetvision import logit
from roadwork.evaluation.streetvision.record import ThresholdChoice
from roadwork.predictor import Predictor
from roadwork.streetvision import simulate_bundles

__all__ = ["OperatingPoint", "fitted_point", "given_point"]


class OperatingPoint(BaseModel):
    """``operating_point.json``.

    Attributes:
        threshold: calibrated probability that becomes 0.5.
        shift: what is added to the calibrated logit, -logit(threshold).
        origin: ``policy``, the bundle's own threshold; ``given``; ``fitted`` on photographs; or
            ``kept``, the bundle's own because the fitted one gained nothing on other groups.
        choice: what was fitted, and what it was worth on other groups than it was chosen on.
        challenges: simulated challenges that it was fitted on.
        photographs: photographs these were made of. They are used up: the exported model must not
            be judged on them.
        groups: groups of these photographs that occurred.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    threshold: float = Field(gt=0, lt=1)
    shift: float
    origin: Literal["policy", "given", "fitted", "kept"]
    choice: ThresholdChoice | None = None
    challenges: int = 0
    photographs: int = 0
    groups: int = 0


def given_point(predictor: Predictor, threshold: float | None = None) -> OperatingPoint:
    """The given threshold; without one that of the bundle's policy, which by default is 0.5.

    Raises:
        ConfigError: the threshold is not between 0 and 1.
    """
    chosen = predictor.bundle.policy.threshold if threshold is None else threshold
    if not 0.0 < chosen < 1.0:
        raise ConfigError(f"the threshold must lie between 0 and 1, not {chosen}")
    # -0.0 would be written as such; equal thresholds shall give equal files.
    shift = -float(logit(chosen)) + 0.0
    origin = "policy" if threshold is None else "given"
    return OperatingPoint(threshold=chosen, shift=shift, origin=origin)


def fitted_point(
    predictor: Predictor, photographs: SampleSet, *, challenges: int = 500, seeds: int = 5
) -> OperatingPoint:
    """The threshold of the largest MCC over challenges made of photographs, if that helps.

    It is taken only where thresholds chosen on one half of the groups raised the expected reward
    on the other half, and the other way round. Else it is the noise of few groups, and the
    bundle's own threshold is kept.

    Args:
        predictor: an opened bundle.
        photographs: labelled, and seen by no part of the bundle. Not those that the bundle, or
            what is exported, is to be judged on.
        challenges: of each sequence.
        seeds: sequences.

    Raises:
        LeakageError: the bundle was fitted on one of them, or on its group.
        DataError: photographs of one label only.
    """
    found = simulate_bundles({"bundle": predictor}, photographs, challenges=challenges, seeds=seeds)
    choice = found.models[0].threshold
    helps = choice.gain is not None and choice.gain > 0
    point = given_point(predictor, choice.threshold if helps else None)
    return point.model_copy(
        update={
            "origin": "fitted" if helps else "kept",
            "choice": choice,
            "challenges": challenges * seeds,
            "photographs": found.photographs,
            "groups": found.groups,
        }
    )
