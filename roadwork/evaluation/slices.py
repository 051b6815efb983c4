"""Metrics per slice: how the model does by night, in rain, on one camera.

A slice is one value of a column. Rows without a value form a slice of their own, named "NULL".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, Strict

from roadwork.calibration.base import IntArray
from roadwork.errors import ConfigError, DataError
from roadwork.evaluation.bootstrap import RESAMPLES, bootstrap
from roadwork.evaluation.metrics import METRICS, Metric, compute_metrics, metric_infos
from roadwork.evaluation.scored import ScoredSet

__all__ = [
    "MINIMUM_PER_CLASS",
    "MINIMUM_ROWS",
    "NULL",
    "Slice",
    "SliceReport",
    "WorstSlice",
    "slice_metrics",
    "slice_rows",
    "too_small",
]

NULL = "NULL"
MINIMUM_ROWS = 30
MINIMUM_PER_CLASS = 10


class Slice(BaseModel):
    """One slice: ``n`` rows of ``n_groups`` groups, ``n_pos`` of them of class 1."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str
    n: int = Field(ge=1)
    n_pos: int = Field(ge=0)
    n_groups: int = Field(ge=1)
    metrics: Mapping[str, Metric]


class WorstSlice(BaseModel):
    """The slice in which a metric is worst; ``gap`` is how much worse than overall, in its units.

    A negative gap says that even the worst of the slices that could be judged is better than the
    whole, as happens when the bad rows are in slices that are too small.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    metric: str
    name: str
    value: float
    overall: float
    gap: float


class SliceReport(BaseModel):
    """All slices of one column, largest first, and the whole set for comparison."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    column: str
    overall: Mapping[str, Metric]
    slices: Annotated[tuple[Slice, ...], Strict(False)]

    def worst(self, metric: str) -> WorstSlice | None:
        """Slice with the worst value of a metric, or None when no slice or not the whole has one.

        Raises:
            ConfigError: the metric is not in this report, or neither direction of it is better.
        """
        if metric not in self.overall:
            raise ConfigError(f"{metric} is not in this report of {', '.join(self.overall)}.")
        higher = METRICS[metric].higher_is_better
        if higher is None:
            raise ConfigError(f"{metric} has no worse direction; compare it with its target.")
        overall = self.overall[metric].value
        values = {part.name: part.metrics[metric].value for part in self.slices}
        judged = {name: value for name, value in values.items() if value is not None}
        if overall is None or not judged:
            return None
        pick = min if higher else max
        name = pick(judged, key=lambda key: judged[key])
        gap = overall - judged[name] if higher else judged[name] - overall
        return WorstSlice(metric=metric, name=name, value=judged[name], overall=overall, gap=gap)


def slice_rows(values: Sequence[object]) -> dict[str, IntArray]:
    """Rows of every slice by its name: the largest slice first, equal ones by name.

    None, NaN and the empty string are missing values, and their rows are the slice "NULL".
    """
    names = np.array([_name(value) for value in values], dtype=object)
    rows = {str(name): np.flatnonzero(names == name) for name in set(names.tolist())}
    return dict(sorted(rows.items(), key=lambda item: (-len(item[1]), item[0])))


def slice_metrics(
    scored: ScoredSet,
    column: str,
    values: Sequence[object],
    names: Iterable[str] | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> SliceReport:
    """Metrics in every slice of a column, with group-bootstrap intervals.

    A slice of fewer than 30 rows, or of fewer than 10 rows of some class, is listed with its
    counts, but its metrics have a reason and no value: such numbers mislead.

    Args:
        scored: the whole set.
        column: name of the column, for the report.
        values: (N,) values of the column; None, NaN and "" are missing.
        names: metrics to compute, by default all.
        resamples: bootstrap resamples in each slice.
        seed: of the bootstrap.

    Raises:
        DataError: not one value per row.
        ConfigError: an unknown metric.
    """
    if len(values) != scored.n:
        raise DataError(f"column {column} has {len(values)} values for {scored.n} rows.")
    wanted = [info.name for info in metric_infos(names)]
    slices: list[Slice] = []
    for name, rows in slice_rows(values).items():
        part = scored.take(rows)
        reason = too_small(part)
        if reason is None:
            result = bootstrap(part, wanted, resamples=resamples, seed=seed)
            metrics = dict(result.metrics)
        else:
            metrics = {key: Metric(value=None, reason=reason, n=part.n) for key in wanted}
        slices.append(
            Slice(
                name=name,
                n=part.n,
                n_pos=int((part.labels == 1).sum()),
                n_groups=part.n_groups,
                metrics=metrics,
            )
        )
    overall = compute_metrics(scored, wanted)
    return SliceReport(column=column, overall=overall, slices=tuple(slices))


def _name(value: object) -> str:
    missing = value is None or value == "" or (isinstance(value, float) and np.isnan(value))
    return NULL if missing else str(value)


def too_small(part: ScoredSet) -> str | None:
    """Why the rows of a slice are too few to be judged, or None."""
    if part.n < MINIMUM_ROWS:
        return f"only {part.n} rows, {MINIMUM_ROWS} are needed"
    counts = np.bincount(part.labels, minlength=part.n_classes)
    fewest = int(counts.argmin())
    if counts[fewest] < MINIMUM_PER_CLASS:
        return f"only {counts[fewest]} rows of class {fewest}, {MINIMUM_PER_CLASS} are needed"
    return None
