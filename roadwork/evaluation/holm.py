"""Holm's adjustment: how sure a statement is when several are made at once.

Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics
6, 1979. With the p-values in rising order, the i-th of m is multiplied by m - i + 1, and none may
fall below the one before. Statements with an adjusted value of at most ``LEVEL`` are all true
together with probability at least 1 - ``LEVEL``, however they depend on each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["LEVEL", "holm", "least_resamples"]

LEVEL = 0.05


def holm(p: Sequence[float | None]) -> list[float | None]:
    """Adjusted p-values in the order given.

    A comparison without a p-value counts as one that was made, and stays without.
    """
    known = sorted((value, index) for index, value in enumerate(p) if value is not None)
    adjusted: list[float | None] = [None] * len(p)
    highest = 0.0
    for rank, (value, index) in enumerate(known):
        highest = max(highest, min(1.0, (len(p) - rank) * value))
        adjusted[index] = highest
    return adjusted


def least_resamples(comparisons: int) -> int:
    """Resamples from which the smallest possible p-value, 2 / (1 + B), passes after adjustment."""
    return math.ceil(2 * max(comparisons, 1) / LEVEL) - 1
