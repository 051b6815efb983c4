"""Search for embeddings that point nearly the same way.

Random hyperplanes (Charikar, "Similarity Estimation Techniques from Rounding Algorithms", 2002): a
hyperplane separates two vectors at the angle ``t`` with probability ``t / pi``. Signatures of ``k``
signs put vectors into buckets, in ``l`` tables: vectors at the threshold meet in one of them with
probability ``1 - (1 - (1 - t / pi)^k)^l``, closer ones with more. Of those that meet, a sketch of
256 further signs turns away most that are far apart, and the cosine itself decides. So nothing that
is found is wrong, and of the pairs exactly at the threshold a share of at least
:data:`RECALL` is found on average over the hyperplanes; of closer ones, more.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import acos, ceil, log, log2, pi

import numpy as np
from numpy.typing import NDArray

from roadwork.errors import DataError

__all__ = ["RECALL", "near_embeddings"]

RECALL = 0.999

_SKETCH = 256
_LOST_BY_SKETCH = 1e-4
_BLOCK = 1 << 16
_SEED = 20240229  # of the hyperplanes: the same vectors give the same pairs


def near_embeddings(vectors: NDArray[np.floating], cosine: float) -> NDArray[np.int64]:
    """Pairs of vectors whose cosine is at least ``cosine``.

    Args:
        vectors: shape (N, D); their lengths do not matter.
        cosine: the threshold, in (0, 1).

    Returns:
        Index pairs ``i < j``, sorted, each once, shape (P, 2).

    Raises:
        DataError: a vector is zero or not finite.
    """
    unit = _unit(vectors)
    n, dimensions = unit.shape
    rng = np.random.default_rng(_SEED)
    bits, tables = _plan(n, cosine)
    sketch = _signs(unit, rng.standard_normal((dimensions, _SKETCH), dtype=np.float32))
    most = _most_different(cosine)
    found = [np.zeros(0, dtype=np.int64)]
    for _ in range(tables):
        planes = rng.standard_normal((dimensions, bits), dtype=np.float32)
        bucket = _signs(unit, planes)[:, 0]
        order = np.argsort(bucket, kind="stable")
        for i, j in _met(bucket[order], order):
            differ = np.bitwise_count(sketch[i] ^ sketch[j]).sum(axis=1, dtype=np.int64)
            i, j = i[differ <= most], j[differ <= most]
            near = np.einsum("nd,nd->n", unit[i], unit[j]) >= cosine
            found.append(np.minimum(i, j)[near] * n + np.maximum(i, j)[near])
    pairs = np.unique(np.concatenate(found))
    return np.stack([pairs // max(n, 1), pairs % max(n, 1)], axis=1)


def _unit(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    bad = np.flatnonzero(~np.isfinite(lengths[:, 0]) | (lengths[:, 0] == 0))
    if len(bad):
        raise DataError(
            f"the embeddings of {len(bad)} images are zero or not finite (row {bad[0]} first): "
            "look at the network that computes them"
        )
    return np.ascontiguousarray(vectors / lengths, dtype=np.float32)


def _plan(n: int, cosine: float) -> tuple[int, int]:
    """Signs of a signature, and the number of tables that gives the recall."""
    bits = min(28, 4 + ceil(log2(max(n, 16))))
    meet = (1 - acos(cosine) / pi) ** bits
    missed = 1 - (RECALL + _LOST_BY_SKETCH)
    return bits, ceil(log(missed) / log(1 - meet))


def _most_different(cosine: float) -> int:
    """Signs of the sketch in which vectors at the threshold differ at most, nearly always."""
    from scipy.stats import binom

    return int(binom.isf(_LOST_BY_SKETCH, _SKETCH, acos(cosine) / pi))


def _signs(unit: NDArray[np.float32], planes: NDArray[np.float32]) -> NDArray[np.uint64]:
    """Sides of hyperplanes as 64-bit words, shape (N, ceil(planes / 64))."""
    words = -(-planes.shape[1] // 64)
    signs = np.zeros((len(unit), words * 64), dtype=bool)
    for start in range(0, len(unit), _BLOCK):
        signs[start : start + _BLOCK, : planes.shape[1]] = unit[start : start + _BLOCK] @ planes > 0
    return np.packbits(signs, axis=1, bitorder="little").view("<u8").astype(np.uint64, copy=False)


def _met(
    bucket: NDArray[np.uint64], order: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Pairs of rows of one bucket; ``bucket`` is sorted, ``order`` are its rows."""
    n = len(bucket)
    for start in range(0, n - 1, _BLOCK):
        active = np.arange(start, min(start + _BLOCK, n - 1))
        gap = 1
        while len(active):
            active = active[bucket[active] == bucket[active + gap]]
            yield order[active], order[active + gap]
            gap += 1
            active = active[: np.searchsorted(active, n - gap)]
