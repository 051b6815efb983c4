"""Strata of the training set: its rows by source and by label, and the share that training draws.

Samplers, prior correction and domain objectives all speak of the same cells, a label within a
source; they are counted here, once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from roadwork import CLASSES
from roadwork.data.contract import require_role
from roadwork.data.manifest import TrainSet
from roadwork.errors import ConfigError

__all__ = ["BALANCES", "BalanceInfo", "Plan", "Strata", "plan_draws"]


@dataclass(frozen=True)
class Strata:
    """Source and label of every training row.

    Attributes:
        sources: D names, sorted.
        source: (N,) index of each row's source.
        labels: (N,) classes 0..K-1.
        counts: (D, K) rows of each cell.
    """

    sources: tuple[str, ...]
    source: NDArray[np.int64]
    labels: NDArray[np.int64]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, train: TrainSet) -> Strata:
        """Count the cells of the training set.

        Raises:
            LeakageError: the set has another role.
        """
        require_role(train, "plan what training draws", TrainSet)
        names, source = np.unique(np.asarray(train.column("source")), return_inverse=True)
        source = source.reshape(-1).astype(np.int64)
        counts = np.zeros((len(names), len(CLASSES)), dtype=np.int64)
        np.add.at(counts, (source, train.labels), 1)
        return cls(tuple(names.tolist()), source, train.labels, counts)

    @property
    def prior(self) -> NDArray[np.float64]:
        """Share of each label among all rows, (K,)."""
        return self.counts.sum(axis=0) / self.counts.sum()


@dataclass(frozen=True)
class Plan:
    """What a pass draws.

    Attributes:
        stratum: (N,) the stratum of each row, 0..S-1; rows of one stratum are drawn alike.
        shares: (S,) share of a pass that each stratum receives; they sum to 1.
        drawn: (D, K) expected share of a pass from each source and label.
    """

    stratum: NDArray[np.int64]
    shares: NDArray[np.float64]
    drawn: NDArray[np.float64]


@dataclass(frozen=True)
class BalanceInfo:
    """One way to balance.

    Attributes:
        title: what occurs equally often, for people.
        cells: (D, K) stratum of each source and label.
        by_source: ``source_shares`` apply.
    """

    title: str
    cells: Callable[[int, int], NDArray[np.int64]]
    by_source: bool


def _one(domains: int, classes: int) -> NDArray[np.int64]:
    return np.zeros((domains, classes), dtype=np.int64)


def _classes(domains: int, classes: int) -> NDArray[np.int64]:
    return np.tile(np.arange(classes), (domains, 1))


def _sources(domains: int, classes: int) -> NDArray[np.int64]:
    return np.tile(np.arange(domains)[:, None], (1, classes))


def _both(domains: int, classes: int) -> NDArray[np.int64]:
    return np.arange(domains * classes).reshape(domains, classes)


BALANCES: Mapping[str, BalanceInfo] = MappingProxyType(
    {
        "none": BalanceInfo("every row once", _one, by_source=False),
        "class": BalanceInfo("both labels equally often", _classes, by_source=False),
        "source": BalanceInfo("sources by their shares", _sources, by_source=True),
        "source_and_class": BalanceInfo(
            "sources by their shares, and the labels equally often within each",
            _both,
            by_source=True,
        ),
    }
)


def plan_draws(strata: Strata, balance: str, source_shares: Mapping[str, float]) -> Plan:
    """Share of a pass that each stratum receives.

    Within a source that holds one label alone, that label receives the source's whole share.

    Args:
        strata: the training rows.
        balance: a key of :data:`BALANCES`.
        source_shares: relative shares by source; empty for equal shares, otherwise complete.

    Raises:
        ConfigError: shares of sources that do not exist, or not of all that do, or shares that
            the balance would ignore.
    """
    info = BALANCES[balance]
    weights = _source_weights(strata, info, balance, source_shares)
    filled = strata.counts > 0
    cells = info.cells(*strata.counts.shape)
    used = np.unique(cells[filled])
    cells = np.searchsorted(used, cells)  # strata without rows vanish
    shares = np.zeros(len(used))
    for domain in range(len(strata.sources)):
        own = np.unique(cells[domain][filled[domain]])
        if info.by_source:
            shares[own] += weights[domain] / len(own)
        else:
            shares[own] = 1.0 / len(used)
    rows = np.bincount(cells[filled], weights=strata.counts[filled], minlength=len(used))
    drawn = np.where(filled, strata.counts * (shares / rows)[np.where(filled, cells, 0)], 0.0)
    return Plan(cells[strata.source, strata.labels], shares, drawn)


def _source_weights(
    strata: Strata, info: BalanceInfo, balance: str, shares: Mapping[str, float]
) -> NDArray[np.float64]:
    """(D,) shares that sum to 1."""
    known = ", ".join(strata.sources)
    if not shares:
        return np.full(len(strata.sources), 1.0 / len(strata.sources))
    if not info.by_source:
        raise ConfigError(
            f"finetune.sampling.source_shares would be ignored with balance: {balance}; use "
            "balance: source or source_and_class"
        )
    absent = sorted(set(shares) - set(strata.sources))
    if absent:
        raise ConfigError(
            f"finetune.sampling.source_shares names {', '.join(absent)}, of which the training set "
            f"has no image; its sources are {known}"
        )
    unnamed = [name for name in strata.sources if name not in shares]
    if unnamed:
        raise ConfigError(
            f"finetune.sampling.source_shares leaves out {', '.join(unnamed)}: give every source "
            f"of the training set ({known}) a share, or remove the source from data.sources"
        )
    weights = np.array([shares[name] for name in strata.sources], dtype=np.float64)
    return weights / weights.sum()
