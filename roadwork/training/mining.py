"""Hard negatives: photographs without roadwork that the network takes for roadwork, shown again.

Every training step tells the losses of its rows, so that the last loss of each row is known for
free; it is as old as the row's last visit. From the second pass on, a share of the negatives of a
pass is exchanged for the negatives with the largest last losses (Shrivastava et al., "Training
Region-based Object Detectors with Online Hard Example Mining", CVPR 2016, arXiv 1604.03540, for
the principle; there within a batch). Wrong labels are hard too: keep the share moderate where
labels are noisy.

Only training rows can be mined: the miner is built on a :class:`TrainSet` alone, and keeps its own
record of the rows that it learned from or drew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from roadwork import POSITIVE
from roadwork.data.contract import require_role
from roadwork.data.exposure import Exposure, Use
from roadwork.data.manifest import TrainSet
from roadwork.training.strata import Plan

__all__ = ["HardNegatives"]

_MINING = 3


class HardNegatives:
    """An order in which hard negatives take the places of some other negatives.

    The exchange happens within a stratum of the plan, so that a balanced pass stays balanced. The
    order of a pass depends on the losses as they were when it began, which are kept beside the
    current ones: an interrupted pass goes on in the same order.
    """

    def __init__(
        self,
        train: TrainSet,
        base: Callable[[int], NDArray[np.int64]],
        plan: Plan,
        share: float,
        seed: int,
    ) -> None:
        """Put mining on an order.

        Args:
            train: the rows.
            base: gives the rows of a pass before the exchange.
            plan: the strata of the rows.
            share: of the negatives of a pass that come from the hardest.
            seed: decides whose places are taken.

        Raises:
            LeakageError: the set has another role than TRAIN.
        """
        require_role(train, "mine hard negatives", TrainSet)
        self.train = train
        self.base = base
        self.share = share
        self.seed = seed
        negative = train.labels != POSITIVE
        self._stratum = np.where(negative, plan.stratum, -1)
        self._losses = np.full(len(train), np.nan, dtype=np.float32)
        self._at_start = self._losses.copy()
        self._epoch = -1
        self._drawn = np.zeros(len(train), dtype=np.bool_)

    def observe(self, rows: NDArray[np.int64], losses: NDArray[np.float32]) -> None:
        """Keep the losses (B,) of the rows (B,) of a training step."""
        self._losses[rows] = losses

    def __call__(self, epoch: int) -> NDArray[np.int64]:
        """Row indices of pass ``epoch``; the same again as long as no other pass is asked for."""
        if epoch != self._epoch:
            self._epoch = epoch
            self._at_start = self._losses.copy()
        order = self.base(epoch).copy()
        rng = np.random.default_rng([self.seed, _MINING, epoch])
        strata = self._stratum[order]
        for stratum in np.unique(self._stratum[self._stratum >= 0]):
            places = np.flatnonzero(strata == stratum)
            hardest = self._hardest(int(stratum), round(self.share * len(places)))
            if not len(hardest):
                continue
            taken = rng.permutation(places)[: round(self.share * len(places))]
            order[taken] = np.resize(rng.permutation(hardest), len(taken))
            self._drawn[hardest] = True
        return order

    def _hardest(self, stratum: int, count: int) -> NDArray[np.int64]:
        """At most ``count`` negatives of a stratum with the largest known losses."""
        known = np.flatnonzero((self._stratum == stratum) & np.isfinite(self._at_start))
        return known[np.argsort(-self._at_start[known], kind="stable")][:count]

    @property
    def exposure(self) -> Exposure:
        """The training rows whose losses were learned, and those that were drawn as hard."""
        seen = np.isfinite(self._losses) | self._drawn
        return _exposure(self.train, seen)

    @property
    def mined(self) -> Exposure:
        """The training rows that were drawn as hard negatives, in any pass so far."""
        return _exposure(self.train, self._drawn)

    def state_dict(self) -> dict[str, Any]:
        """Losses, those at the start of the pass, which pass, and what was drawn; as tensors."""
        return {
            "epoch": self._epoch,
            "losses": torch.from_numpy(self._losses.copy()),
            "at_start": torch.from_numpy(self._at_start.copy()),
            "drawn": torch.from_numpy(self._drawn.copy()),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self._epoch = int(state["epoch"])
        self._losses = state["losses"].numpy().copy()
        self._at_start = state["at_start"].numpy().copy()
        self._drawn = state["drawn"].numpy().copy()


def _exposure(train: TrainSet, rows: NDArray[np.bool_]) -> Exposure:
    if not rows.any():
        return Exposure()
    return Exposure.of(Use.TRAIN, TrainSet(train.table.filter(rows)))
