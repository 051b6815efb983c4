"""What a simulation of StreetVision found, as strict records that are JSON."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "EarningsDifference",
    "ModelEarnings",
    "Part",
    "StreetVisionReport",
    "ThresholdChoice",
]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Part(_Record):
    """How a model does on one kind of challenge.

    ``reward`` is what it would earn if all challenges were of this kind; ``mcc`` and ``accuracy``
    are over all challenges of the kind in the simulation. None where only one class occurs, or,
    for ``mcc``, only one is ever said.
    """

    name: str
    challenges: int
    mcc: float | None
    accuracy: float | None
    reward: float | None


class ThresholdChoice(_Record):
    """What another threshold than 0.5 would earn.

    ``threshold`` is that of the largest MCC over all challenges of the simulation, and ``shift``
    what must be added to the logit of the answers so that it comes to lie at 0.5. Its worth is
    judged crosswise: the groups are halved, the threshold of each half decides the other, and
    ``gain`` is the reward of these decisions less that at 0.5; nothing is judged on what it was
    chosen on. ``halves`` are the two thresholds: far apart, they say that the choice is noise. The
    interval keeps them fixed. ``reason`` says why there is no gain or no interval.
    """

    threshold: float = Field(gt=0, lt=1)
    shift: float
    halves: tuple[float, float] | None
    gain: float | None
    low: float | None
    high: float | None
    reason: str | None


class ModelEarnings(_Record):
    """One model.

    ``reward`` is the expected reward: the mean over the challenges of each seed after the first
    100, when the window of the MCC is full; a validator's moving average has this mean then.
    ``by_seed`` are the means of the seeds, ``score`` the mean of the moving averages at their ends.
    The interval (95 %, percentile) is over whole groups: each resample draws groups of photographs
    with replacement, and sequences of challenges from them, as many as were simulated.
    """

    name: str
    reward: float
    low: float | None
    high: float | None
    by_seed: tuple[float, ...]
    score: float
    mcc: float | None
    accuracy: float
    levels: tuple[Part, ...]
    origins: tuple[Part, ...]
    threshold: ThresholdChoice


class EarningsDifference(_Record):
    """Reward of a model less that of the best, on the same challenges and the same resamples."""

    name: str
    best: str
    difference: float
    low: float | None
    high: float | None


class StreetVisionReport(_Record):
    """Models, the best first, and how they were compared.

    ``notes`` are what a reader has to know; ``reason`` says why there are no intervals.
    """

    schema_version: int = 1
    challenges: int
    seeds: int
    warm_up: int
    photographs: int
    synthetic_pictures: int
    synthetic_share: float
    groups: int
    resamples: int
    skipped: int
    reason: str | None
    models: tuple[ModelEarnings, ...]
    differences: tuple[EarningsDifference, ...]
    notes: tuple[str, ...]
