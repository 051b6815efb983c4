"""Pairs of models whose true figures are known to be equal, or to differ, on grouped data."""

from __future__ import annotations

import numpy as np

from roadwork.data.exposure import Exposure
from roadwork.pairing import TestScores
from roadwork.promotion.rivals import Contender

WEATHER = ("dry", "rain", "fog")


def make_pair(
    rng: np.random.Generator,
    groups: int,
    *,
    rows: int = 12,
    strength: float = 1.5,
    gain: float = 0.0,
    broken: float = 0.0,
) -> tuple[Contender, Contender]:
    """A candidate and a champion on the same new drives.

    Both see the label through noise that drive and photograph share between them, and through noise
    of their own, by drive and by photograph. Drives differ in length. With ``gain`` and ``broken``
    at 0 the two have the same law, so that every figure of theirs is equal on average.

    Args:
        rng: source of all randomness.
        groups: drives.
        rows: photographs of a drive, on average.
        strength: distance of the classes in standard deviations.
        gain: how much further they are apart for the candidate.
        broken: how much less they are apart for the candidate in the rain.
    """
    sizes = rng.integers(rows // 2, rows * 3 // 2 + 1, size=groups)
    drive = np.repeat(np.arange(groups), sizes)
    n = len(drive)
    # Drives are mostly of one class, as they are where roadwork lasts for some frames.
    labels = (rng.random(n) < np.where(rng.random(groups) < 0.5, 0.8, 0.2)[drive]).astype(np.int64)
    weather = np.array(WEATHER)[np.arange(groups) % len(WEATHER)][drive]
    shared = 0.6 * rng.standard_normal(groups)[drive] + 0.6 * rng.standard_normal(n)
    ids = np.arange(n, dtype=np.uint64)
    contenders = []
    for better in (gain, 0.0):
        distance = strength + better - (broken * (weather == "rain") if not contenders else 0.0)
        own = 0.5 * rng.standard_normal(groups)[drive] + 0.5 * rng.standard_normal(n)
        margins = 2.0 * (distance * (labels - 0.5) + shared + own)
        scores = TestScores(
            sample_ids=ids,
            groups=np.array([f"drive-{number}" for number in drive]),
            labels=labels,
            probabilities=1.0 / (1.0 + np.exp(-margins)),
            slices={"weather": tuple(weather.tolist())},
        )
        contenders.append(Contender(scores, Exposure()))
    return contenders[0], contenders[1]
