"""Exit paths: the exits that a fit may choose from, in an order that no label has influenced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np

from roadwork.calibration.base import FloatArray, IntArray

__all__ = ["CONFIDENCE_LEVELS", "EXIT_PATHS", "ExitPath", "PathName"]

PathName = Literal["two_sided", "none_only", "roadwork_only"]


@dataclass(frozen=True, eq=False)
class ExitPath:
    """Exits to try, from the safest on: low (J,) rising and high (J,) falling, low < high.

    The path is fixed before any label is seen. -inf and inf stand for "never".
    """

    title: str
    low: FloatArray
    high: FloatArray

    def step(self, p: FloatArray) -> IntArray:
        """First exits (N,) that answer each stage-1 probability (N,); J where none does."""
        none = np.searchsorted(self.low, p, side="left")
        roadwork = np.searchsorted(-self.high, -p, side="left")
        return np.minimum(none, roadwork).astype(np.int64)


# 200 steps of 0.04 in log odds, from 8 (probability 0.99966) to 0.04. Exits only grow on the way,
# and so does the harm: finer steps cost nothing.
_ODDS = 0.04 * np.arange(200, 0, -1)
_SURE, _UNSURE = 1.0 / (1.0 + np.exp(-_ODDS)), 1.0 / (1.0 + np.exp(_ODDS))
_NEVER = np.full(len(_ODDS), np.inf)
CONFIDENCE_LEVELS = np.append(_SURE, 0.5)
"""Confidences of stage 2, the strictest first."""

EXIT_PATHS: Mapping[str, ExitPath] = MappingProxyType(
    {
        "two_sided": ExitPath("both answers, equally sure", _UNSURE, _SURE),
        "none_only": ExitPath('"none" alone', _UNSURE, _NEVER),
        "roadwork_only": ExitPath('"roadwork" alone', -_NEVER, _SURE),
    }
)
