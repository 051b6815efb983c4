"""Statements about slices, with the price of making many: gaps of one model, changes between two.

Groups of the whole set are resampled, so that a slice and the rest of the set, or two models on one
slice, are compared on the same draws. P-values are adjusted by Holm over every slice of every
column that was asked for, those that were too small to judge included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from roadwork.errors import DataError
from roadwork.evaluation.bootstrap import RESAMPLES, describe_differences, resampled
from roadwork.evaluation.holm import holm
from roadwork.evaluation.metrics import MetricInfo, metric_infos
from roadwork.evaluation.scored import ScoredSet
from roadwork.evaluation.slices import slice_rows, too_small

__all__ = ["SliceTest", "slice_changes", "slice_gaps"]

Columns = Mapping[str, Sequence[object]]
Mask = NDArray[np.bool_]
Side = tuple[ScoredSet, Mask]
Sides = Callable[[Mask], tuple[Side, Side, str | None]]


class SliceTest(BaseModel):
    """One slice against something else, in one metric.

    Attributes:
        column: of the slice.
        name: value of the column.
        n: rows.
        n_pos: those of class 1.
        n_groups: groups.
        metric: name in ``METRICS``.
        value: of the slice, or of model B on it.
        other: of the rest of the set, or of model A on the slice.
        difference: ``value - other``.
        worse: how much worse the slice (or model B) is: the difference with the sign turned so
            that more is worse; None for a metric without a better direction.
        low: lower end of the 95 % interval of the difference.
        high: its upper end.
        p: twice the smaller share of resampled differences on one side of 0; like a p-value, and
            approximate.
        p_holm: adjusted over all slices.
        reason: why something is None.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    column: str
    name: str
    n: int = Field(ge=1)
    n_pos: int = Field(ge=0)
    n_groups: int = Field(ge=1)
    metric: str
    value: float | None = None
    other: float | None = None
    difference: float | None = None
    worse: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_holm: float | None = None
    reason: str | None = None


def slice_gaps(
    scored: ScoredSet,
    columns: Columns,
    metric: str,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[SliceTest, ...]:
    """Every slice against all rows that are not in it, the worst gap first.

    Args:
        scored: the whole set.
        columns: (N,) values of every column.
        metric: name in ``METRICS``.
        resamples: of groups of the whole set.
        seed: of the drawing.

    Raises:
        ConfigError: an unknown metric.
        DataError: a column of another length.
    """
    (info,) = metric_infos([metric])

    def sides(inside: Mask) -> tuple[Side, Side, str | None]:
        reason = too_small(scored.take(inside))
        if reason is None:
            rest = "there is none" if inside.all() else too_small(scored.take(~inside))
            reason = None if rest is None else f"the rest of the set: {rest}"
        return (scored, inside), (scored, ~inside), reason

    return _tests(scored, columns, info, sides, resamples, seed)


def slice_changes(
    first: ScoredSet,
    second: ScoredSet,
    columns: Columns,
    metric: str,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[SliceTest, ...]:
    """Model B against model A on every slice, the worst change first.

    Args:
        first: the same rows, judged by model A.
        second: judged by model B.
        columns: (N,) values of every column.
        metric: name in ``METRICS``.
        resamples: of groups of the whole set.
        seed: of the drawing.

    Raises:
        ConfigError: an unknown metric.
        DataError: the sets differ in labels or groups, or a column is of another length.
    """
    (info,) = metric_infos([metric])
    same = first.n == second.n and (first.labels == second.labels).all()
    if not same or not (first.group_codes == second.group_codes).all():
        raise DataError("the two models were not judged on the same rows: labels or groups differ.")

    def sides(inside: Mask) -> tuple[Side, Side, str | None]:
        return (second, inside), (first, inside), too_small(first.take(inside))

    return _tests(first, columns, info, sides, resamples, seed)


def _tests(
    scored: ScoredSet,
    columns: Columns,
    info: MetricInfo,
    sides: Sides,
    resamples: int,
    seed: int,
) -> tuple[SliceTest, ...]:
    absent = info.missing(scored)
    found = []
    for column, name, inside in _masks(scored, columns):
        here, there, reason = sides(inside)
        known = {
            "column": column,
            "name": name,
            "n": int(inside.sum()),
            "n_pos": int((scored.labels[inside] == 1).sum()),
            "n_groups": len(np.unique(scored.group_codes[inside])),
            "metric": info.name,
        }
        reason = absent or reason
        figures = {} if reason else _compare(scored, info, here, there, resamples, seed)
        found.append(SliceTest.model_validate({**known, "reason": reason, **figures}))
    adjusted = holm([test.p for test in found])
    tests = [test.model_copy(update={"p_holm": p}) for test, p in zip(found, adjusted, strict=True)]
    return tuple(sorted(tests, key=_worst_first))


def _compare(
    scored: ScoredSet, info: MetricInfo, here: Side, there: Side, resamples: int, seed: int
) -> dict[str, float | str | None]:
    judged = [(side.take(rows), np.flatnonzero(rows)) for side, rows in (here, there)]
    value, other = (info.compute(part).value for part, _ in judged)
    if value is None or other is None:
        return {"reason": info.undefined}
    draws = []
    for weights in resampled(scored, resamples, seed):
        first, second = (info.batch(part, weights.take(rows)) for part, rows in judged)
        draws.append(first - second)
    said = describe_differences(np.concatenate(draws), scored.n_groups)
    higher = info.higher_is_better
    return {
        "value": value,
        "other": other,
        "difference": value - other,
        "worse": None if higher is None else other - value if higher else value - other,
        "low": said.low,
        "high": said.high,
        "p": said.share,
        "reason": said.reason,
    }


def _masks(scored: ScoredSet, columns: Columns) -> Iterator[tuple[str, str, Mask]]:
    for column, values in columns.items():
        if len(values) != scored.n:
            raise DataError(f"column {column} has {len(values)} values for {scored.n} rows.")
        for name, rows in slice_rows(values).items():
            inside = np.zeros(scored.n, dtype=np.bool_)
            inside[rows] = True
            yield column, name, inside


def _worst_first(test: SliceTest) -> tuple[bool, float, str, str]:
    return test.worse is None, -(test.worse or 0.0), test.column, test.name
