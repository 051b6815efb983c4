"""Row weights of many bootstrap resamples, never written out in full.

Rows of a group are drawn together, so that (B, N) weights are (B, G) counts of groups and the group
of every row. What is linear in the weights is summed within groups once and multiplied by the
counts; what needs the rows in order gets a few resamples at a time. A million rows and two thousand
resamples would be 16 GB as a matrix.

Metrics take ``Weights``: a matrix (B, N), or ``Resamples``, which behaves like one where metrics
use it: ``weights @ values``, ``weights * mask``, ``weights.sum(axis=1)``, ``len(weights)``.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias, TypeVar

import numpy as np

from roadwork.calibration.base import FloatArray, IntArray

__all__ = ["Resamples", "Weights", "binned", "columns", "once", "ordered", "parts"]

# Numbers in one block of ordered rows: 16 MB, of which a pass holds about ten.
_BLOCK = 2**21

Made = TypeVar("Made")


@dataclass(frozen=True, eq=False)
class Resamples:
    """Weights (B, N) that are ``draws[:, codes] * factor``.

    Attributes:
        draws: (B, G) how often each group is drawn.
        codes: (N,) group 0..G-1 of every row.
        factor: (N,) of every row, or None for 1.
    """

    draws: FloatArray
    codes: IntArray
    factor: FloatArray | None = None
    _made: dict[Hashable, Any] = field(default_factory=dict, repr=False)
    _shared: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    # NumPy must not take this for a scalar: array * resamples is an error, as it is meant to be.
    __array_ufunc__: ClassVar[None] = None

    def __len__(self) -> int:
        return len(self.draws)

    def __mul__(self, factor: np.ndarray) -> Resamples:
        """These weights with every row's multiplied by (N,)."""
        own = np.asarray(factor, dtype=np.float64)
        own = own if self.factor is None else own * self.factor
        return Resamples(self.draws, self.codes, own, _shared=self._shared)

    def __matmul__(self, values: np.ndarray) -> FloatArray:
        """Weighted sums (B,) of values (N,)."""
        return self.draws @ self._sums(self.codes, values, self.draws.shape[1])

    def sum(self, axis: int) -> FloatArray:
        """Weight of all rows, (B,); ``axis`` is 1, as it would be for the matrix."""
        assert axis == 1
        return self @ np.ones(len(self.codes))

    def binned(self, index: IntArray, bins: int, values: np.ndarray | None = None) -> FloatArray:
        """Weighted sums (B, bins) of values (N,), by default 1, over the bin of every row."""
        groups = self.draws.shape[1]
        sums = self._sums(self.codes * bins + index, values, groups * bins)
        return self.draws @ sums.reshape(groups, bins)

    def columns(self, rows: IntArray) -> FloatArray:
        """Weights of some rows, (B, R)."""
        found = self.draws[:, self.codes[rows]]
        return found if self.factor is None else found * self.factor[rows]

    def take(self, rows: IntArray) -> Resamples:
        """The same draws for some of the rows."""
        factor = None if self.factor is None else self.factor[rows]
        return Resamples(self.draws, self.codes[rows], factor)

    def ordered(self, order: IntArray) -> FloatArray:
        """Weights of all rows in another order, (B, N)."""
        # The order is kept beside what was made of it, so that its id is not given to another.
        _, codes = self._shared.setdefault(id(order), (order, self.codes[order]))
        found = np.take(self.draws, codes, axis=1, mode="clip")
        return found if self.factor is None else found * self.factor[order]

    def once(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """What ``make`` gives, made at the first call with this key."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def parts(self) -> Iterator[Resamples]:
        """The same resamples, so many at a time that ordered rows stay small."""
        size = max(1, _BLOCK // len(self.codes))
        if len(self) <= size:
            yield self
            return
        for start in range(0, len(self), size):
            draws = self.draws[start : start + size]
            yield Resamples(draws, self.codes, self.factor, _shared=self._shared)

    def _sums(self, index: IntArray, values: np.ndarray | None, length: int) -> FloatArray:
        """Sums (length,) of ``values * factor`` by index."""
        own = self.factor
        if values is not None:
            own = np.asarray(values, dtype=np.float64) * (1.0 if own is None else own)
        return np.bincount(index, weights=own, minlength=length).astype(np.float64, copy=False)


Weights: TypeAlias = FloatArray | Resamples


def binned(
    weights: Weights, index: IntArray, bins: int, values: np.ndarray | None = None
) -> FloatArray:
    """Weighted sums (B, bins) of values (N,), by default 1, over the bin 0..bins-1 of every row."""
    if isinstance(weights, Resamples):
        return weights.binned(index, bins, values)
    own = weights if values is None else weights * values
    found = np.empty((len(own), bins))
    for place, row in zip(found, own, strict=True):
        place[:] = np.bincount(index, weights=row, minlength=bins)
    return found


def columns(weights: Weights, rows: IntArray) -> FloatArray:
    """Weights of some rows, (B, R)."""
    return weights.columns(rows) if isinstance(weights, Resamples) else weights[:, rows]


def ordered(weights: Weights, order: IntArray) -> FloatArray:
    """Weights of all rows in another order, (B, N)."""
    return weights.ordered(order) if isinstance(weights, Resamples) else weights[:, order]


def parts(weights: Weights) -> Iterator[Weights]:
    """The same resamples in small portions; a matrix is one portion, being there already."""
    if isinstance(weights, Resamples):
        yield from weights.parts()
    else:
        yield weights


def once(weights: Weights, key: Hashable, make: Callable[[], Made]) -> Made:
    """What ``make`` gives; resamples remember it, so that metrics share what they can."""
    return weights.once(key, make) if isinstance(weights, Resamples) else make()
