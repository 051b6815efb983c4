"""Search for 64-bit hashes that differ in few bits: exact, and in bounded memory.

Two hashes of which at most ``d`` bits differ, cut into ``m > d`` bands, agree in at least
``m - d`` bands (the pigeonhole principle, generalised). So for every choice of ``m - d`` bands the
hashes are sorted with these bands in front, and only those that agree there are compared: neighbour
by neighbour, then with a gap of two, and so on, each time over the whole array at once (compare
Norouzi, Punjani and Fleet, "Fast Search in Hamming Space with Multi-Index Hashing", 2012, which
cuts into bands and looks up instead of sorting).

More bands make longer keys, so fewer comparisons, but more choices; the cheaper number is computed
from ``n``, ``d`` and how evenly the bits are spread. For small ``d`` (up to about 8) the work grows
a little faster than ``n``; for ``d = 15`` no cut of 64 bits separates well, and a million hashes
take many minutes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, pairwise
from math import comb

import numpy as np
from numpy.typing import NDArray

__all__ = ["Runs", "near_pairs", "near_unique", "unique_hashes"]

Hashes = NDArray[np.uint64]
Indices = NDArray[np.int64]

_BITS = 64
_BLOCK = 1 << 17  # hashes compared at once: their temporary arrays stay in the processor's cache
_PAIRS = 1 << 21  # pairs of rows written out at once
# Costs in nanoseconds, measured; only their ratio matters.
_SORT_COST = 90.0
_COMPARE_COST = 8.0


def near_pairs(
    hashes: NDArray[np.uint64], distance: int, apart: NDArray[np.generic] | None = None
) -> Indices:
    """Every pair of hashes that differ in at most ``distance`` bits.

    Args:
        hashes: shape (N,).
        distance: largest number of different bits, 0 to 63.
        apart: codes, shape (N,): only pairs whose codes differ are wanted, such as images
            of different sets. Runs of one code cost nothing then, however equal their hashes are.

    Returns:
        Index pairs, each once, ``i < j``, sorted, shape (P, 2).
    """
    hashes = np.asarray(hashes, dtype=np.uint64)
    rows = _Rows.of(hashes, apart)
    found = [np.zeros((0, 2), dtype=np.int64), *rows.expand(rows.repeated())]
    for near in near_unique(rows.unique, distance):
        found += rows.expand(near)
    pairs = np.concatenate(found)
    pairs.sort(axis=1)
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def unique_hashes(hashes: Hashes) -> tuple[Hashes, Indices]:
    """Sorted unique hashes, and for every row the index of its own.

    Sorting beats ``numpy.unique``, whose hash table is slow on random 64-bit keys.
    """
    order = np.argsort(hashes)
    ordered = hashes[order]
    new = np.ones(len(hashes), dtype=bool)
    new[1:] = ordered[1:] != ordered[:-1]
    inverse = np.empty(len(hashes), dtype=np.int64)
    inverse[order] = np.cumsum(new) - 1
    return ordered[new], inverse


def near_unique(unique: Hashes, distance: int) -> Iterator[Indices]:
    """Index pairs of unique hashes that differ in at most ``distance`` bits, in pieces.

    Every pair comes once. The pieces are bounded, so that a caller who reduces them (to connected
    components, say) needs little memory even where nearly all hashes are close.

    Args:
        unique: shape (U,), no two equal.
        distance: 0 to 63; nothing comes for 0.
    """
    if distance < 1 or len(unique) < 2:
        return
    spread, evenness = _spread_bits(unique)
    order = np.argsort(spread)
    home = spread[order]
    bands = _choose_bands(len(unique), distance, evenness)
    for chosen in combinations(range(len(bands)), len(bands) - distance):
        table = _Table(bands, chosen)
        for left, right in _close(table, np.sort(table.turn(spread)), distance):
            i, j = (order[np.searchsorted(home, table.turn_back(side))] for side in (left, right))
            yield np.stack([np.minimum(i, j), np.maximum(i, j)], axis=1)


@dataclass(frozen=True)
class _Band:
    low: int
    width: int

    def of(self, values: Hashes) -> Hashes:
        return (values >> np.uint64(self.low)) & np.uint64((1 << self.width) - 1)


class _Table:
    """The hashes with some bands in front, and the way back."""

    def __init__(self, bands: tuple[_Band, ...], chosen: tuple[int, ...]) -> None:
        behind = [index for index in range(len(bands)) if index not in chosen]
        self.order = [bands[index] for index in (*chosen, *behind)]
        self.limit = np.uint64(1 << (_BITS - sum(bands[index].width for index in chosen)))
        self.earlier = [bands[index] for index in behind if index < chosen[-1]]

    def turn(self, values: Hashes) -> Hashes:
        turned = np.zeros_like(values)
        for band in self.order:
            turned = (turned << np.uint64(band.width)) | band.of(values)
        return turned

    def turn_back(self, turned: Hashes) -> Hashes:
        values, low = np.zeros_like(turned), _BITS
        for band in self.order:
            low -= band.width
            values |= _Band(low, band.width).of(turned) << np.uint64(band.low)
        return values

    def first(self, differences: Hashes) -> NDArray[np.bool_]:
        """Whether this is the first of all tables in which a pair meets: it is reported there.

        That is so unless the pair agrees in a band that is not chosen but comes before the last
        chosen one: with it in the place of the last, an earlier choice would have served.
        """
        values = self.turn_back(differences)
        first = np.ones(len(values), dtype=bool)
        for band in self.earlier:
            first &= band.of(values) != 0
        return first


def _close(table: _Table, ordered: Hashes, distance: int) -> Iterator[tuple[Hashes, Hashes]]:
    """Hashes that agree in the key of a table and are close; ``ordered`` is sorted."""
    n = len(ordered)
    for start in range(0, n - 1, _BLOCK):
        active: slice | Indices = slice(start, min(start + _BLOCK, n - 1))
        for gap in range(1, n):
            if isinstance(active, slice):
                active = slice(start, min(active.stop, n - gap))
                left, right = ordered[active], ordered[start + gap : active.stop + gap]
            else:
                active = active[: np.searchsorted(active, n - gap)]
                left, right = ordered[active], ordered[active + gap]
            differences = left ^ right
            same = differences < table.limit  # the key is in front: nothing of it differs
            if not same.any():
                break
            hits = np.flatnonzero(same & (np.bitwise_count(differences) <= distance))
            if len(hits):
                hits = hits[table.first(differences[hits])]
                yield left[hits], right[hits]
            # While most stay, walking the array is quicker than gathering from it.
            if not isinstance(active, slice):
                active = active[same]
            elif 3 * np.count_nonzero(same) < len(same):
                active = start + np.flatnonzero(same)


def _spread_bits(hashes: Hashes) -> tuple[Hashes, float]:
    """The same bits in another order, and their effective number.

    Bits that are nearly constant tell nothing, and neighbours among the bits of a picture's hash go
    together, so that the bits are dealt out by how much they tell. The effective number is the sum
    of the collision entropies of the bits: 64 for fair coins.
    """
    shares = np.array([float((hashes >> np.uint64(b) & np.uint64(1)).mean()) for b in range(_BITS)])
    entropies = -np.log2(shares**2 + (1 - shares) ** 2)
    ranked = np.argsort(-entropies, kind="stable")
    places = np.argsort(np.arange(_BITS) % 8, kind="stable")
    spread = np.zeros_like(hashes)
    for bit, place in zip(ranked.tolist(), places.tolist(), strict=True):
        spread |= ((hashes >> np.uint64(bit)) & np.uint64(1)) << np.uint64(place)
    return spread, max(float(entropies.sum()), 1.0)


def _choose_bands(n: int, distance: int, evenness: float) -> tuple[_Band, ...]:
    """Bands of nearly equal width, as many as make the search cheapest."""

    def cost(count: int) -> float:
        key = evenness * (count - distance) / count
        return comb(count, distance) * (n * _SORT_COST + n * n / 2 ** (key + 1) * _COMPARE_COST)

    most = min(_BITS, distance + 8)
    count = min(range(distance + 1, most + 1), key=cost)
    edges = np.linspace(0, _BITS, count + 1).astype(int).tolist()
    return tuple(_Band(low, high - low) for low, high in pairwise(edges))


@dataclass(frozen=True)
class _Rows:
    """The rows behind unique hashes, gathered in nodes: rows of one hash and one code."""

    unique: Hashes
    code: NDArray[np.generic]  # of each node
    nodes: Runs  # of each hash
    rows: Runs  # of each node, in ``order``
    order: Indices

    @classmethod
    def of(cls, hashes: Hashes, apart: NDArray[np.generic] | None) -> _Rows:
        unique, inverse = unique_hashes(hashes)
        code = np.arange(len(hashes)) if apart is None else np.asarray(apart)
        order = np.lexsort((code, inverse))
        hash_of, code = inverse[order], code[order]
        new = np.ones(len(order), dtype=bool)
        new[1:] = (hash_of[1:] != hash_of[:-1]) | (code[1:] != code[:-1])
        rows = np.bincount(np.cumsum(new) - 1) if len(order) else np.zeros(0, dtype=np.int64)
        nodes = np.bincount(hash_of[new], minlength=len(unique))
        return cls(unique, code[new], Runs.of(nodes), Runs.of(rows), order)

    def repeated(self) -> Indices:
        """Hashes of several nodes, each paired with itself."""
        wanted = np.flatnonzero(self.nodes.count > 1)
        return np.stack([wanted, wanted], axis=1)

    def expand(self, pairs: Indices) -> Iterator[Indices]:
        """Pairs of hashes as pairs of their rows, in pieces."""
        for which, x, y in self.nodes.products(pairs[:, 0], pairs[:, 1]):
            wanted = (pairs[which, 0] != pairs[which, 1]) | (x < y)
            wanted &= self.code[x] != self.code[y]
            for _, i, j in self.rows.products(x[wanted], y[wanted]):
                yield np.stack([self.order[i], self.order[j]], axis=1)


@dataclass(frozen=True)
class Runs:
    """Runs of members that lie one behind another."""

    start: Indices
    count: Indices

    @classmethod
    def of(cls, count: Indices) -> Runs:
        """Runs of the given lengths, one behind another."""
        return cls(np.cumsum(count) - count, count)

    def products(self, u: Indices, v: Indices) -> Iterator[tuple[Indices, Indices, Indices]]:
        """For runs ``u[k]`` and ``v[k]``: every ``k``, member of one and member of the other."""
        size = self.count[u] * self.count[v]
        end = np.cumsum(size)
        for low in range(0, int(size.sum()), _PAIRS):
            flat = np.arange(low, min(low + _PAIRS, int(end[-1])))
            which = np.searchsorted(end, flat, side="right")
            step = flat - (end - size)[which]
            width = self.count[v][which]
            yield which, self.start[u][which] + step // width, self.start[v][which] + step % width
