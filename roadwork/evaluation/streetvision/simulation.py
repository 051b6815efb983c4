"""The simulation: models answer the same challenges and earn what the subnet would pay.

Every number is of the simulated challenges alone: other miners, the network's delay and the
validators' own pictures are not part of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from roadwork.data.manifest import SampleSet
from roadwork.errors import ConfigError, DataError
from roadwork.evaluation.streetvision.challenge import SYNTHETIC_SHARE, ChallengeMaker
from roadwork.evaluation.streetvision.record import StreetVisionReport
from roadwork.evaluation.streetvision.reward import MCC_WINDOW
from roadwork.evaluation.streetvision.summary import RESAMPLES, Answers, summarise

__all__ = ["Predict", "answer", "simulate"]

Predict = Callable[[bytes], float]
"""P(roadwork) in [0, 1] of a query, a JPEG file of 224 x 224 pixels."""


def simulate(
    models: Mapping[str, Predict],
    photographs: SampleSet,
    *,
    challenges: int = 500,
    seeds: int = 5,
    synthetic: SampleSet | None = None,
    synthetic_share: float = SYNTHETIC_SHARE,
    resamples: int = RESAMPLES,
    update: Callable[[int, int], None] | None = None,
) -> StreetVisionReport:
    """Let models answer challenges and rank them by what they would earn.

    Args:
        models: by name, what answers a query.
        photographs: labelled photographs that no model was fitted on.
        challenges: of each seed, more than 100, which fill the window of the MCC first.
        seeds: how many sequences; they are 0, 1, 2 …
        synthetic: labelled pictures for the validators' synthetic half, if there are any.
        synthetic_share: their share of the challenges.
        resamples: bootstrap resamples over groups.
        update: told (done, total) challenges.

    Raises:
        ConfigError: no model, too few challenges, seeds or resamples.
        DataError: pictures of one label only, one that cannot be read, an answer outside [0, 1].
    """
    if resamples < 1:
        raise ConfigError(f"a bootstrap needs at least one resample, not {resamples}")
    maker = ChallengeMaker(photographs, synthetic, synthetic_share)
    answers = answer(models, maker, challenges, seeds, update)
    return summarise(
        answers,
        photographs=len(photographs),
        synthetic_pictures=0 if synthetic is None else len(synthetic),
        synthetic_share=maker.synthetic_share,
        resamples=resamples,
    )


def answer(
    models: Mapping[str, Predict],
    maker: ChallengeMaker,
    challenges: int,
    seeds: int,
    update: Callable[[int, int], None] | None = None,
) -> Answers:
    """Ask every model every challenge; each is made once.

    Raises:
        ConfigError: no model, no more than 100 challenges, no seed.
        DataError: an answer is not in [0, 1].
    """
    if not models:
        raise ConfigError("there is no model to ask")
    if challenges <= MCC_WINDOW or seeds < 1:
        raise ConfigError(
            f"a simulation needs at least one seed and more than {MCC_WINDOW} challenges, which "
            f"fill the window of the MCC, not {seeds} and {challenges}"
        )
    shape = (seeds, challenges)
    probabilities = {name: np.empty(shape) for name in models}
    labels, levels = np.empty(shape, np.int64), np.empty(shape, np.int64)
    synthetic, groups = np.empty(shape, np.bool_), np.empty(shape, object)
    for place in np.ndindex(*shape):
        challenge = maker.make(*place)
        labels[place], levels[place] = challenge.label, challenge.augmentation.level
        synthetic[place], groups[place] = challenge.synthetic, challenge.group
        for name, predict in models.items():
            probabilities[name][place] = _checked(predict(challenge.query), name, challenge.file)
        if update:
            update(place[0] * challenges + place[1] + 1, seeds * challenges)
    numbers = np.unique(groups.astype(np.str_), return_inverse=True)[1].reshape(shape)
    return Answers(probabilities, labels, levels, synthetic, numbers)


def _checked(given: float, name: str, file: str) -> float:
    if not 0.0 <= given <= 1.0:
        raise DataError(
            f"{name} answered {given!r} to a challenge made of {file}: outside of [0, 1] the "
            "subnet pays nothing; give a probability"
        )
    return float(given)
