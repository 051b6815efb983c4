"""Perceptual hashing, and clusters of pictures that look alike.

The hash is the 64-bit DCT hash ("pHash": Zauner, "Implementation and Benchmarking of Perceptual
Image Hash Functions", 2010): the signs of the 8 x 8 lowest frequencies of a 32 x 32 grey picture
against their median.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["clusters", "near_pairs", "perceptual_hash"]

_SIDE = 32
_KEPT = 8


def _dct_matrix() -> NDArray[np.float64]:
    k = np.arange(_KEPT)[:, None]
    n = np.arange(_SIDE)[None, :]
    return np.cos(np.pi * (2 * n + 1) * k / (2 * _SIDE))


_DCT = _dct_matrix()


def perceptual_hash(image: Image.Image) -> int:
    """64-bit DCT hash of an RGB image."""
    grey = image.convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX)
    spectrum = _DCT @ np.asarray(grey, dtype=np.float64) @ _DCT.T
    values = spectrum.ravel()
    bits = values > np.median(values[1:])  # the first is the mean brightness: no structure
    return int(np.packbits(bits).view(">u8")[0])


def near_pairs(hashes: NDArray[np.uint64], distance: int) -> Iterator[tuple[int, int]]:
    """Index pairs (i < j) of hashes that differ in at most ``distance`` bits.

    The 64 bits are cut into ``distance + 1`` bands; two hashes so close agree in one band at
    least (pigeonhole), so that only rows of one bucket are compared. A pair may come repeatedly.
    """
    hashes = np.asarray(hashes, dtype=np.uint64)
    edges = np.linspace(0, 64, distance + 2).astype(int)
    for low, high in pairwise(edges):
        mask = np.uint64((1 << int(high - low)) - 1)
        band = (hashes >> np.uint64(low)) & mask
        order = np.argsort(band, kind="stable")
        bounds = np.flatnonzero(np.diff(band[order])) + 1
        for bucket in np.split(order, bounds):
            for position, i in enumerate(bucket[:-1]):
                rest = bucket[position + 1 :]
                close = np.bitwise_count(hashes[rest] ^ hashes[i]) <= distance
                for j in rest[close]:
                    yield (int(min(i, j)), int(max(i, j)))


def clusters(n: int, pairs: Iterator[tuple[int, int]] | list[tuple[int, int]]) -> NDArray[np.int64]:
    """Connected components of ``n`` nodes: for every node the smallest index of its component."""
    parent = list(range(n))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for i, j in pairs:
        a, b = root(i), root(j)
        if a != b:
            parent[max(a, b)] = min(a, b)
    return np.array([root(i) for i in range(n)], dtype=np.int64)
