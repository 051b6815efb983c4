"""What a metric is: its record in the registry, and the value that it gives.

A metric that is undefined is a ``Metric`` without a value and with a reason; it is never 0, 0.5 or
NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from roadwork.calibration.base import FloatArray
from roadwork.evaluation.resamples import Weights
from roadwork.evaluation.scored import ScoredSet

__all__ = ["Metric", "MetricInfo", "Need"]


class Metric(BaseModel):
    """A number with its uncertainty: ``value`` is None when undefined, and ``reason`` says why.

    ``low`` and ``high`` bound the 95 % interval where one was computed; ``reason`` may also be set
    beside a value, when the value or its interval needs a remark. ``n`` counts the rows used.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    value: float | None
    reason: str | None = None
    low: float | None = None
    high: float | None = None
    n: int = Field(ge=0)


Need = Literal["sets", "groups"]


@dataclass(frozen=True)
class MetricInfo:
    """One metric.

    Attributes:
        name: key in ``METRICS`` and in every report.
        title: words for people.
        higher_is_better: None when neither direction is.
        batch: values (B,) for row weights (B, N), NaN where undefined.
        reads: what it is a function of: sums over groups, or every row in order. The bootstrap
            gives the latter few resamples at a time.
        undefined: the reason to give when the value is NaN.
        needs: what the scored set must have beyond probabilities and labels.
        remark: something to say beside a value, or None.
    """

    name: str
    title: str
    higher_is_better: bool | None
    batch: Callable[[ScoredSet, Weights], FloatArray]
    undefined: str = "no rows"
    reads: Literal["groups", "rows"] = "groups"
    needs: frozenset[Need] = frozenset()
    remark: Callable[[ScoredSet], str | None] = lambda scored: None

    def missing(self, scored: ScoredSet) -> str | None:
        """Why this set cannot have the metric at all, or None."""
        if "sets" in self.needs and scored.sets is None:
            return "no prediction sets were given"
        if "groups" in self.needs and scored.groups is None:
            return "no groups were given"
        return None

    def compute(self, scored: ScoredSet) -> Metric:
        """Value for the whole set, without an interval."""
        absent = self.missing(scored)
        if absent is not None:
            return Metric(value=None, reason=absent, n=scored.n)
        value = float(self.batch(scored, np.ones((1, scored.n)))[0])
        if np.isnan(value):
            return Metric(value=None, reason=self.undefined, n=scored.n)
        return Metric(value=value, reason=self.remark(scored), n=scored.n)
