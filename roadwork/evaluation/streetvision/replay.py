"""Replays: the rewards of new sequences drawn from challenges that were answered already.

An answer to a challenge does not depend on the challenges before it, only the reward does. So one
set of answers tells what other sequences would have earned: of one level of augmentation, say, or
of other groups of photographs (the cluster bootstrap).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roadwork.calibration.base import FloatArray
from roadwork.evaluation.streetvision.reward import MCC_WINDOW, reward_paths

__all__ = ["Replayed", "Sequences", "replay", "resample_groups"]

_BLOCK = 2**18  # challenges of one block of resamples; bounds the memory


@dataclass(frozen=True)
class Sequences:
    """How many sequences are drawn at a time, and how long they are."""

    number: int
    challenges: int

    @property
    def total(self) -> int:
        """Challenges of all sequences."""
        return self.number * self.challenges


@dataclass(frozen=True)
class Replayed:
    """Mean rewards (B, M) of the resamples, and how many were left out for want of a class."""

    rewards: FloatArray
    skipped: int


def replay(
    decisions: NDArray[np.bool_], labels: NDArray[np.int64], sequences: Sequences, seed: int
) -> FloatArray | None:
    """Mean reward (M,) over new sequences of the given challenges; None if a class is absent.

    Args:
        decisions: (M, N) of M models on N challenges.
        labels: (N,) zeros and ones; each label is drawn with one half.
        sequences: what to draw.
        seed: of the drawing.
    """
    rng = np.random.default_rng(seed)
    drawn = _draw(np.ones(len(labels)), labels, sequences, rng)
    return None if drawn is None else _mean_rewards(decisions, labels, drawn[None], sequences)[0]


def resample_groups(
    decisions: NDArray[np.bool_],
    labels: NDArray[np.int64],
    groups: NDArray[np.int64],
    sequences: Sequences,
    resamples: int,
    seed: int,
) -> Replayed:
    """Mean rewards over sequences from groups drawn with replacement, alike for all models.

    Args:
        decisions: (M, N) of M models on N challenges.
        labels: (N,) zeros and ones.
        groups: (N,) group numbers 0..G-1.
        sequences: what to draw in each resample.
        resamples: how many.
        seed: of the drawing.
    """
    rng = np.random.default_rng(seed)
    n_groups = int(groups.max()) + 1
    block = max(1, _BLOCK // sequences.total)
    found: list[FloatArray] = []
    pending: list[NDArray[np.intp]] = []
    skipped = 0
    for number in range(1, resamples + 1):
        counts = np.bincount(rng.integers(n_groups, size=n_groups), minlength=n_groups)
        drawn = _draw(counts[groups].astype(np.float64), labels, sequences, rng)
        if drawn is None:
            skipped += 1
        else:
            pending.append(drawn)
        if pending and (len(pending) == block or number == resamples):
            found.append(_mean_rewards(decisions, labels, np.stack(pending), sequences))
            pending = []
    rewards = np.concatenate(found) if found else np.empty((0, len(decisions)))
    return Replayed(rewards, skipped)


def _draw(
    weights: FloatArray,
    labels: NDArray[np.int64],
    sequences: Sequences,
    rng: np.random.Generator,
) -> NDArray[np.intp] | None:
    """Indices (sequences, challenges): the label first, then a challenge of it by weight."""
    wanted = rng.integers(2, size=sequences.total)
    places = rng.random(sequences.total)
    drawn = np.empty(sequences.total, dtype=np.intp)
    for label in (0, 1):
        pool = np.flatnonzero((labels == label) & (weights > 0))
        if not len(pool):
            return None
        upto = np.cumsum(weights[pool])
        ours = wanted == label
        found = np.searchsorted(upto, places[ours] * upto[-1], side="right")
        drawn[ours] = pool[np.minimum(found, len(pool) - 1)]
    return drawn.reshape(sequences.number, sequences.challenges)


def _mean_rewards(
    decisions: NDArray[np.bool_],
    labels: NDArray[np.int64],
    drawn: NDArray[np.intp],
    sequences: Sequences,
) -> FloatArray:
    """(B, M) from indices (B, sequences, challenges)."""
    rows = drawn.reshape(-1, sequences.challenges)
    truth = labels[rows]
    means = [
        reward_paths(said[rows], truth)[:, MCC_WINDOW:].mean(axis=1).reshape(len(drawn), -1)
        for said in decisions
    ]
    return np.stack([mean.mean(axis=1) for mean in means], axis=1)
