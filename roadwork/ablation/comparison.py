"""Variants compared on the same images: groups are resampled, seeds are averaged.

Every variant is judged on each resample of whole groups, with every seed's model, and its metric is
the mean over the seeds. The interval of a difference so speaks of other drives, with the trained
models as they are; that training again could come out otherwise is not in it. Therefore a variant
is called better or worse only where, besides, every seed says the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from roadwork.calibration.base import FloatArray
from roadwork.evaluation.bootstrap import describe_differences, resample_weights
from roadwork.evaluation.holm import LEVEL, holm
from roadwork.evaluation.metrics import METRICS, MetricInfo
from roadwork.evaluation.scored import ScoredSet
from roadwork.pairing import LEAST_GROUPS

__all__ = ["METRICS_SHOWN", "Contrast", "Difference", "Scores", "Seeded", "differences", "seeded"]

METRICS_SHOWN = ("nll", "auroc", "mcc")

Says = Literal["better", "worse", "cannot tell", "same answers"]


class Seeded(BaseModel):
    """A metric of one variant.

    Attributes:
        mean: over the seeds; None where a seed has no value.
        spread: standard deviation over the seeds (n - 1); None with fewer than two.
        by_seed: the value of every seed.
        reason: why there is no mean.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    mean: float | None
    spread: float | None
    by_seed: tuple[float | None, ...]
    reason: str | None = None


class Difference(BaseModel):
    """A mean difference of one metric, and what can be said about it.

    Attributes:
        value: the mean over pairs of variants and over seeds; None where undefined.
        low: lower end of the 95 % interval over resampled groups.
        high: its upper end.
        by_seed: the difference of every seed.
        p: like a two-sided p-value, from the same resamples.
        adjusted: after Holm, over all comparisons of the same kind.
        says: what follows for the deciding metric; None for the other ones.
        reason: a remark, such as why there is no value.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    value: float | None
    low: float | None = None
    high: float | None = None
    by_seed: tuple[float | None, ...] = ()
    p: float | None = None
    adjusted: float | None = None
    says: Says | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Scores:
    """Answers of all variants on the same images.

    Attributes:
        by_variant: one scored set a seed, for every variant that has all its answers, by number.
        resampled: for every metric and variant its resampled values, mean over seeds, (B,).
    """

    by_variant: Mapping[int, Sequence[ScoredSet]]
    resampled: Mapping[str, Mapping[int, FloatArray]]

    @classmethod
    def of(cls, by_variant: Mapping[int, Sequence[ScoredSet]], resamples: int, seed: int) -> Scores:
        """Resample the groups once for all variants, which have the same images in one order."""
        resampled = {name: {number: [] for number in by_variant} for name in METRICS_SHOWN}
        every = [scored for sets in by_variant.values() for scored in sets]
        for weights in resample_weights(every[0], resamples, seed) if every else ():
            for name, number in ((name, number) for name in METRICS_SHOWN for number in by_variant):
                batch = METRICS[name].batch
                values = [batch(scored, weights) for scored in by_variant[number]]
                resampled[name][number].append(np.mean(values, axis=0))
        return cls(
            by_variant,
            {
                name: {number: np.concatenate(blocks) for number, blocks in found.items()}
                for name, found in resampled.items()
            },
        )

    @property
    def n_groups(self) -> int:
        """Groups that are resampled."""
        return next(iter(self.by_variant.values()))[0].n_groups if self.by_variant else 0


@dataclass(frozen=True)
class Contrast:
    """What is compared: the mean over pairs (variant, reference) of their differences."""

    pairs: Sequence[tuple[int, int]]


def seeded(scores: Sequence[ScoredSet], metric: str) -> Seeded:
    """A metric of one variant, from one scored set a seed."""
    found = [METRICS[metric].compute(scored) for scored in scores]
    values = [one.value for one in found]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        reason = next(one.reason for one in found if one.value is None)
        return Seeded(mean=None, spread=None, by_seed=tuple(values), reason=reason)
    spread = float(np.std(known, ddof=1)) if len(known) > 1 else None
    return Seeded(mean=float(np.mean(known)), spread=spread, by_seed=tuple(values))


def differences(
    scores: Scores, contrasts: Sequence[Contrast], deciding: str
) -> list[dict[str, Difference]]:
    """Every contrast in every metric; the deciding one is adjusted over all contrasts given.

    Args:
        scores: of all variants that occur in the contrasts.
        contrasts: each with at least one pair.
        deciding: the metric that statements are made about.

    Returns:
        For every contrast its differences by metric.
    """
    table = [
        {name: _difference(scores, contrast, name) for name in METRICS_SHOWN}
        for contrast in contrasts
    ]
    adjusted = holm([row[deciding].p for row in table])
    for row, contrast, value in zip(table, contrasts, adjusted, strict=True):
        found = row[deciding]
        says, reason = _statement(scores, contrast, found, value, METRICS[deciding])
        row[deciding] = found.model_copy(
            update={"adjusted": value, "says": says, "reason": reason or found.reason}
        )
    return table


def _difference(scores: Scores, contrast: Contrast, metric: str) -> Difference:
    of_seed = {
        number: np.array(seeded(scores.by_variant[number], metric).by_seed, dtype=np.float64)
        for number in {number for pair in contrast.pairs for number in pair}
    }
    means = np.mean([of_seed[one] - of_seed[other] for one, other in contrast.pairs], axis=0)
    by_seed = tuple(None if np.isnan(value) else float(value) for value in means)
    if None in by_seed:
        return Difference(value=None, by_seed=by_seed, reason="undefined for some seed")
    resampled = scores.resampled[metric]
    values = np.mean([resampled[one] - resampled[other] for one, other in contrast.pairs], axis=0)
    found = describe_differences(values, scores.n_groups)
    return Difference(
        value=float(means.mean()),
        low=found.low,
        high=found.high,
        by_seed=by_seed,
        p=found.share,
        reason=found.reason,
    )


def _statement(
    scores: Scores, contrast: Contrast, found: Difference, adjusted: float | None, info: MetricInfo
) -> tuple[Says, str | None]:
    if all(_same(scores, one, other) for one, other in contrast.pairs):
        return "same answers", None
    if found.value is None or adjusted is None:
        return "cannot tell", None
    if adjusted > LEVEL or scores.n_groups < LEAST_GROUPS:
        return "cannot tell", None
    if any(value is None or value * found.value <= 0 for value in found.by_seed):
        return "cannot tell", "the seeds disagree"
    return ("better" if (found.value > 0) == info.higher_is_better else "worse"), None


def _same(scores: Scores, one: int, other: int) -> bool:
    return all(
        np.array_equal(a.probabilities, b.probabilities)
        for a, b in zip(scores.by_variant[one], scores.by_variant[other], strict=True)
    )
