"""Perceptual hashing, and clusters of pictures that look alike.

The hash is the 64-bit DCT hash ("pHash": Zauner, "Implementation and Benchmarking of Perceptual
Image Hash Functions", 2010): the signs of the 8 x 8 lowest frequencies of a 32 x 32 grey picture
against their median. Hashes that are close are found in :mod:`roadwork.data.hamming`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from roadwork.data.hamming import near_pairs

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


def clusters(n: int, pairs: NDArray[np.int64] | Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """Connected components of ``n`` nodes.

    Args:
        n: number of nodes.
        pairs: edges, shape (P, 2).

    Returns:
        For every node the smallest index of its component, shape (n,).
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    edges = np.asarray(pairs, dtype=np.int64).reshape(-1, 2)
    if not n:
        return np.zeros(0, dtype=np.int64)
    graph = coo_array((np.ones(len(edges), dtype=np.int8), (edges[:, 0], edges[:, 1])), (n, n))
    count, component = connected_components(graph, directed=False)
    first = np.full(count, n, dtype=np.int64)
    np.minimum.at(first, component, np.arange(n))
    return first[component]
