"""Thinning: of photographs of different drives that look alike, the best one stays.

Rows of one hash and one label are a *look*; they share their fate, save that neighbours within a
drive are never set aside for one another.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roadwork.data.hamming import Runs, near_unique, unique_hashes

__all__ = ["Looks", "thin_out"]

Indices = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Looks:
    """What thinning and grouping need of every row.

    Attributes:
        unique: sorted unique perceptual hashes, shape (U,).
        hash_of_row: the place of every row's hash in ``unique``, shape (N,).
        labels: class indices, shape (N,).
        drives: numbers of the drives, shape (N,).
    """

    unique: NDArray[np.uint64]
    hash_of_row: Indices
    labels: Indices
    drives: Indices

    @classmethod
    def of(cls, hashes: NDArray[np.uint64], labels: Indices, drives: Indices) -> Looks:
        """Find the unique hashes."""
        return cls(*unique_hashes(hashes), labels, drives)


def thin_out(looks: Looks, rank: Indices, rows: Mask, alike: Indices, distance: int) -> Indices:
    """Which rows are set aside, and for which.

    Args:
        looks: of all rows.
        rank: the place of every row under the keeper rule, best first, shape (N,).
        rows: those that take part, shape (N,).
        alike: further pairs of rows that look alike, shape (P, 2).
        distance: hashes that differ in at most so many bits look alike.

    Returns:
        For every row the row that stays in its place, -1 where it stays itself, shape (N,).
    """
    members = np.flatnonzero(rows)
    order = members[np.lexsort((rank[members], looks.labels[members], looks.hash_of_row[members]))]
    hashes, labels, drives = looks.hash_of_row[order], looks.labels[order], looks.drives[order]
    new = np.ones(len(order), dtype=bool)
    new[1:] = (hashes[1:] != hashes[:-1]) | (labels[1:] != labels[:-1])
    look_of_row = np.full(len(rank), -1, dtype=np.int64)
    look_of_row[order] = np.cumsum(new) - 1
    best = order[new]  # of every look
    look = look_of_row[order]
    several = np.zeros(len(best), dtype=bool)  # has rows of several drives
    several[look[drives != looks.drives[best][look]]] = True

    runs = Runs.of(np.bincount(hashes[new], minlength=len(looks.unique)))
    pairs, disputed = _pairs_of_looks(looks, runs, best, several, look_of_row[alike], distance)
    better, worse = _directed(pairs, rank[best])
    stays = _choose(better, worse, disputed)
    instead = _best_neighbour(better, worse, stays, rank[best])

    result = np.full(len(rank), -1, dtype=np.int64)
    target = np.where(stays[look], best[look], best[instead[look]])
    set_aside = (looks.drives[target] != drives) & ~disputed[look]
    result[order[set_aside]] = target[set_aside]
    return result


def _pairs_of_looks(
    looks: Looks, runs: Runs, best: Indices, several: Mask, alike: Indices, distance: int
) -> tuple[Indices, Mask]:
    """Pairs of looks of one label and of different drives, and looks in dispute.

    A look is in dispute if one of another label and in another drive is near.
    """
    labels, drives = looks.labels[best], looks.drives[best]
    same_label = [np.zeros((0, 2), dtype=np.int64)]
    disputed = np.zeros(len(best), dtype=bool)

    def sort_out(a: Indices, b: Indices) -> None:
        elsewhere = (drives[a] != drives[b]) | several[a] | several[b]
        other = labels[a] != labels[b]
        disputed[a[elsewhere & other]] = True
        disputed[b[elsewhere & other]] = True
        wanted = (drives[a] != drives[b]) & ~other
        same_label.append(np.stack([a[wanted], b[wanted]], axis=1))

    itself = np.arange(len(looks.unique))
    for near in (np.stack([itself, itself], axis=1), *near_unique(looks.unique, distance)):
        for _, a, b in runs.products(near[:, 0], near[:, 1]):
            sort_out(a, b)
    alike = alike[(alike >= 0).all(axis=1)]
    sort_out(alike[:, 0], alike[:, 1])
    return np.concatenate(same_label), disputed


def _directed(pairs: Indices, rank: Indices) -> tuple[Indices, Indices]:
    """The better and the worse of each pair."""
    a, b = pairs[:, 0], pairs[:, 1]
    return np.where(rank[a] < rank[b], a, b), np.where(rank[a] < rank[b], b, a)


def _choose(better: Indices, worse: Indices, forced: Mask) -> Mask:
    """Looks that stay: from best to worst, each unless a better one of a pair with it stays.

    That is the lexicographically first maximal independent set, found in rounds: whatever has no
    better neighbour left stays, and its neighbours go. Looks that are forced stay in any case.
    """
    gone = np.zeros(len(forced), dtype=bool)
    left = ~forced[worse]
    while left.any():
        better, worse = better[left], worse[left]
        waiting = np.zeros(len(forced), dtype=bool)
        waiting[worse] = True
        gone[worse[~waiting[better]]] = True
        left = ~gone[worse] & ~gone[better]
    return ~gone


def _best_neighbour(better: Indices, worse: Indices, stays: Mask, rank: Indices) -> Indices:
    """For every look that goes, the best one that stays of those better ones it is paired with."""
    wanted = stays[better] & ~stays[worse]
    better, worse = better[wanted], worse[wanted]
    order = np.lexsort((rank[better], worse))
    looks, start = np.unique(worse[order], return_index=True)
    result = np.arange(len(rank))
    result[looks] = better[order[start]]
    return result
