"""Percentile bootstrap over groups: intervals of metrics, and of the difference of two models.

Rows of one group (a drive) resemble each other, so whole groups are drawn with replacement (the
cluster bootstrap; Davison and Hinkley, "Bootstrap Methods and their Application", 1997, ch. 3.8).
A resample is a row of integer weights, and metrics are computed from weights; nothing is copied or
sorted again, and the weights of all rows are never held at once. Resamples in which a metric is
undefined (one class only) are skipped and counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict, Field

from roadwork.calibration.base import FloatArray
from roadwork.errors import ConfigError, DataError
from roadwork.evaluation.metrics import Metric, MetricInfo, metric_infos
from roadwork.evaluation.resamples import Resamples
from roadwork.evaluation.scored import ScoredSet

__all__ = [
    "LEVEL",
    "RESAMPLES",
    "BootstrapResult",
    "PairedDifference",
    "ResampledDifference",
    "bootstrap",
    "describe_differences",
    "paired_bootstrap",
    "percentile_interval",
    "resample_weights",
    "resampled",
]

RESAMPLES = 2000
LEVEL = 0.95

# Numbers in one block of weights: 32 MB, which still fits into the caches of a server.
_BLOCK = 2**22
# Numbers in one block of counts of groups, 64 MB: large blocks sum within groups less often.
_COUNTS = 2**23
# With fewer defined resamples than this share the percentiles would describe the skipping.
_LEAST_DEFINED = 0.5


class BootstrapResult(BaseModel):
    """Metrics with their intervals, and how these were made."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    metrics: Mapping[str, Metric]
    skipped: Mapping[str, int]
    n_groups: int
    resamples: int
    seed: int


class PairedDifference(BaseModel):
    """Metric of model B less that of model A, on the same rows.

    ``share`` is like a two-sided p-value: twice the smaller of the shares of resampled differences
    at most 0 and at least 0, with one added to each count and at most 1. It is read off the same
    resamples as the interval, and is approximate like it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    metric: str
    a: float | None
    b: float | None
    difference: float | None
    low: float | None
    high: float | None
    share: float | None
    reason: str | None
    n_groups: int = Field(ge=1)
    resamples: int = Field(ge=1)
    skipped: int = Field(ge=0)


def resample_weights(scored: ScoredSet, resamples: int, seed: int) -> Iterator[FloatArray]:
    """Blocks (b, N) of how often each row is drawn, ``resamples`` rows in all.

    Each resample draws as many groups as there are, with replacement; without groups, rows.

    Raises:
        ConfigError: fewer than one resample.
    """
    block = max(1, _BLOCK // max(scored.n, scored.n_groups))
    for counts in _group_counts(scored.n_groups, resamples, seed, block):
        yield counts[:, scored.group_codes]


def resampled(scored: ScoredSet, resamples: int, seed: int) -> Iterator[Resamples]:
    """The weights of :func:`resample_weights` as counts of groups, in blocks of another size.

    Raises:
        ConfigError: fewer than one resample.
    """
    block = max(1, _COUNTS // scored.n_groups)
    for counts in _group_counts(scored.n_groups, resamples, seed, block):
        yield Resamples(counts, scored.group_codes)


def _group_counts(n_groups: int, resamples: int, seed: int, block: int) -> Iterator[FloatArray]:
    """Blocks (b, G) of how often each group is drawn; the size of a block changes no draw."""
    if resamples < 1:
        raise ConfigError(f"a bootstrap needs at least one resample, not {resamples}.")
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, block):
        counts = np.empty((min(block, resamples - start), n_groups))
        for row in counts:
            row[:] = np.bincount(rng.integers(n_groups, size=n_groups), minlength=n_groups)
        yield counts


def _values(
    infos: Sequence[MetricInfo], scored: ScoredSet, weights: Resamples
) -> dict[str, FloatArray]:
    """Values (B,) of every metric; those that read rows get few resamples at a time, together."""
    found = {info.name: info.batch(scored, weights) for info in infos if info.reads == "groups"}
    rows = [info for info in infos if info.reads == "rows"]
    if rows:
        portions = [[info.batch(scored, part) for info in rows] for part in weights.parts()]
        columns = zip(*portions, strict=True)
        found |= {
            info.name: np.concatenate(column) for info, column in zip(rows, columns, strict=True)
        }
    return found


def bootstrap(
    scored: ScoredSet,
    names: Iterable[str] | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> BootstrapResult:
    """Percentile 95 % intervals of the named metrics, or of all that the set can have.

    The same set, names or not, and seed give the same intervals. A metric without a value keeps
    its reason and gets no interval; so does one that is undefined in half of the resamples, or any
    metric when there is only one group.

    Raises:
        ConfigError: an unknown metric, or fewer than one resample.
    """
    infos = metric_infos(names)
    metrics = {info.name: info.compute(scored) for info in infos}
    defined = [info for info in infos if metrics[info.name].value is not None]
    draws: dict[str, list[FloatArray]] = {info.name: [] for info in defined}
    for weights in resampled(scored, resamples, seed):
        for name, values in _values(defined, scored, weights).items():
            draws[name].append(values)
    skipped: dict[str, int] = {}
    for info in defined:
        values = np.concatenate(draws[info.name])
        skipped[info.name] = int(np.isnan(values).sum())
        bounds, remark = percentile_interval(values, scored.n_groups)
        point = metrics[info.name]
        metrics[info.name] = Metric(
            value=point.value,
            reason=remark or point.reason,
            low=bounds[0],
            high=bounds[1],
            n=point.n,
        )
    return BootstrapResult(
        metrics=metrics,
        skipped=skipped,
        n_groups=scored.n_groups,
        resamples=resamples,
        seed=seed,
    )


def paired_bootstrap(
    metric: str,
    scores_a: ArrayLike,
    scores_b: ArrayLike,
    labels: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> PairedDifference:
    """Difference B - A of a metric between two models, with both judged on each resample.

    Args:
        metric: a name in ``METRICS`` that needs no prediction sets.
        scores_a: probabilities of model A, (N, K), or (N,) of the positive class.
        scores_b: those of model B.
        labels: (N,) true classes.
        groups: (N,) group of every row; rows are resampled when they are not given.
        resamples: number of resamples.
        seed: of the drawing.

    Raises:
        ConfigError: the metric is unknown or needs sets.
        DataError: the arrays break the contract.
    """
    (info,) = metric_infos([metric])
    if "sets" in info.needs:
        raise ConfigError(f"{metric} is a metric of prediction sets, not of scores.")
    first, second = (_scored(scores, labels, groups) for scores in (scores_a, scores_b))
    if first.n_classes != second.n_classes:
        raise DataError("the two models do not have the same number of classes.")
    a, b = info.compute(first), info.compute(second)
    reason = a.reason if a.value is None else b.reason if b.value is None else None
    if a.value is None or b.value is None:
        return PairedDifference(
            metric=metric,
            a=a.value,
            b=b.value,
            difference=None,
            low=None,
            high=None,
            share=None,
            reason=reason,
            n_groups=first.n_groups,
            resamples=resamples,
            skipped=0,
        )
    found = describe_differences(_differences(info, first, second, resamples, seed), first.n_groups)
    return PairedDifference(
        metric=metric,
        a=a.value,
        b=b.value,
        difference=b.value - a.value,
        low=found.low,
        high=found.high,
        share=found.share,
        reason=found.reason,
        n_groups=first.n_groups,
        resamples=resamples,
        skipped=found.skipped,
    )


@dataclass(frozen=True)
class ResampledDifference:
    """What resampled differences say: the fields of :class:`PairedDifference` of these names."""

    low: float | None
    high: float | None
    share: float | None
    reason: str | None
    skipped: int


def describe_differences(values: FloatArray, n_groups: int) -> ResampledDifference:
    """Interval and ``share`` of resampled differences (B,), NaN where one is undefined."""
    (low, high), reason = percentile_interval(values, n_groups)
    kept = values[~np.isnan(values)]
    tail = 1 + min(int((kept <= 0).sum()), int((kept >= 0).sum()))
    share = None if low is None else min(1.0, 2 * tail / (1 + len(kept)))
    return ResampledDifference(low, high, share, reason, skipped=len(values) - len(kept))


def _differences(
    info: MetricInfo, first: ScoredSet, second: ScoredSet, resamples: int, seed: int
) -> FloatArray:
    return np.concatenate(
        [
            info.batch(second, weights) - info.batch(first, weights)
            for weights in resampled(first, resamples, seed)
        ]
    )


def _scored(scores: ArrayLike, labels: ArrayLike, groups: ArrayLike | None) -> ScoredSet:
    values = np.asarray(scores, dtype=np.float64)
    table = np.stack([1.0 - values, values], axis=1) if values.ndim == 1 else values
    return ScoredSet(
        probabilities=table,
        labels=np.asarray(labels),
        groups=None if groups is None else np.asarray(groups),
    )


def percentile_interval(
    values: FloatArray, n_groups: int
) -> tuple[tuple[float | None, float | None], str | None]:
    """Percentile bounds of the defined ones of B values, or none and the reason."""
    if n_groups < 2:
        return (None, None), "no interval: a single group cannot be resampled"
    kept = values[~np.isnan(values)]
    if len(kept) < _LEAST_DEFINED * len(values):
        return (None, None), (
            f"no interval: undefined in {len(values) - len(kept)} of {len(values)} resamples"
        )
    tail = 100 * (1.0 - LEVEL) / 2
    low, high = np.percentile(kept, [tail, 100 - tail])
    return (float(low), float(high)), None
