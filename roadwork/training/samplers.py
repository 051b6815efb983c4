"""Samplers: the rows of a pass, balanced over classes and sources.

A balanced pass is as long as a plain one. Every stratum is drawn without replacement as long as
its rows last: its rows stand in a row of shuffled rounds, of which each pass takes the next piece.
So no row of a stratum comes twice before all others came once, also across passes. The strata are
interleaved evenly, so that every batch, not only the whole pass, is balanced.

The order depends on the seed and the pass alone. A row that comes twice in one pass is augmented
the same way both times, since augmentation depends on the seed, the pass and the row.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from roadwork.data.manifest import TrainSet
from roadwork.data.order import Order, ShardOrder, Shuffled
from roadwork.settings import Settings
from roadwork.training.strata import Plan

__all__ = ["Balanced", "apportion", "plain_order"]

_ROUND, _OFFSET = 1, 2


def plain_order(train: TrainSet, settings: Settings) -> Order:
    """Every row once; rows in shards so that each shard is read once a pass."""
    shards = settings.data.shards
    if shards.to is None:
        return Shuffled(len(train), settings.seed)
    return ShardOrder.of(train.uris, settings.seed, shards.window)


def apportion(total: int, shares: NDArray[np.float64]) -> NDArray[np.int64]:
    """Whole numbers that sum to ``total``, each within one of its share (largest remainders)."""
    exact = total * shares / shares.sum()
    counts = np.floor(exact).astype(np.int64)
    order = np.argsort(-(exact - counts), kind="stable")
    counts[order[: total - int(counts.sum())]] += 1
    return counts


class Balanced:
    """Order of the rows of a pass in which every stratum has its share.

    Attributes:
        counts: (S,) draws of a pass from each stratum; the same in every pass.
    """

    def __init__(self, plan: Plan, seed: int) -> None:
        """Nothing is drawn before a pass is asked for."""
        self.rows = [np.flatnonzero(plan.stratum == s) for s in range(len(plan.shares))]
        self.counts = apportion(len(plan.stratum), plan.shares)
        self.seed = seed

    def __call__(self, epoch: int) -> NDArray[np.int64]:
        """Row indices (N,) of pass ``epoch``."""
        drawn = [self._draw(s, epoch) for s in range(len(self.rows))]
        offsets = np.random.default_rng([self.seed, _OFFSET, epoch]).random(len(self.rows))
        places = [
            (np.arange(len(rows)) + offset) / max(1, len(rows))
            for rows, offset in zip(drawn, offsets, strict=True)
        ]
        return np.concatenate(drawn)[np.argsort(np.concatenate(places), kind="stable")]

    def _draw(self, stratum: int, epoch: int) -> NDArray[np.int64]:
        rows, count = self.rows[stratum], int(self.counts[stratum])
        start, stop = epoch * count, (epoch + 1) * count
        first = start // len(rows)
        rounds = [
            np.random.default_rng([self.seed, _ROUND, stratum, number]).permutation(rows)
            for number in range(first, -(-stop // len(rows)))
        ]
        if not rounds:
            return np.empty(0, dtype=np.int64)
        begin = start - first * len(rows)
        return np.concatenate(rounds)[begin : begin + count]
