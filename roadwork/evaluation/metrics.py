"""The registry of metrics, and the value that a metric gives.

``METRICS`` names every metric; ``compute_metrics`` computes them for a ``ScoredSet``. A metric that
is undefined is a ``Metric`` without a value and with a reason; it is never 0, 0.5 or NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from roadwork.calibration.base import FloatArray
from roadwork.errors import ConfigError
from roadwork.evaluation import (
    calibration_error,
    confusion,
    ranking,
    risk_coverage,
)
from roadwork.evaluation import prediction_sets as sets
from roadwork.evaluation.intervals import clopper_pearson
from roadwork.evaluation.ranking import WithinGroupAuroc, within_group_auroc
from roadwork.evaluation.scored import ScoredSet

__all__ = [
    "METRICS",
    "Metric",
    "MetricInfo",
    "ScoredSet",
    "WithinGroupAuroc",
    "class_coverage",
    "clipped_likelihoods",
    "compute_metrics",
    "metric_infos",
    "within_group_auroc",
]


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
        undefined: the reason to give when the value is NaN.
        needs: what the scored set must have beyond probabilities and labels.
        remark: something to say beside a value, or None.
    """

    name: str
    title: str
    higher_is_better: bool | None
    batch: Callable[[ScoredSet, FloatArray], FloatArray]
    undefined: str = "no rows"
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


def clipped_likelihoods(scored: ScoredSet) -> int:
    """Number of rows whose true class has a probability that the log-likelihood must clip."""
    if scored.logits is not None:
        return 0
    return int((scored.log_likelihood < np.log(calibration_error.LIKELIHOOD_FLOOR)).sum())


def _clip_remark(scored: ScoredSet) -> str | None:
    clipped = clipped_likelihoods(scored)
    floor = calibration_error.LIKELIHOOD_FLOOR
    share = f"{clipped} of {scored.n} probabilities of the true class"
    return f"{share} were below {floor:g} and raised to it" if clipped else None


_ONE_CLASS = "only one class present"
_ONE_PREDICTED = "only one class present, or only one predicted"
_BINARY = "defined for two classes only; see brier_sum"
_SETS: frozenset[Need] = frozenset({"sets"})
_GROUPS: frozenset[Need] = frozenset({"groups"})

_confusion = (
    MetricInfo("accuracy", "Accuracy", True, confusion.accuracy),
    MetricInfo(
        "balanced_accuracy", "Balanced accuracy", True, confusion.balanced_accuracy, _ONE_CLASS
    ),
    MetricInfo("mcc", "Matthews correlation", True, confusion.matthews_correlation, _ONE_PREDICTED),
    MetricInfo("f1", "F1", True, confusion.f1, "no positives, true or predicted"),
    MetricInfo("precision", "Precision", True, confusion.precision, "nothing predicted positive"),
    MetricInfo("recall", "Recall", True, confusion.recall, "no positives present"),
)
_ranking = (
    MetricInfo("auroc", "AUROC", True, ranking.auroc, _ONE_CLASS),
    MetricInfo(
        "auprc",
        "AUPRC (average precision)",
        True,
        ranking.average_precision,
        "no positives present",
    ),
    MetricInfo(
        "within_group_auroc",
        "AUROC within groups",
        True,
        ranking.within_group,
        "no group has both classes",
        _GROUPS,
    ),
)
_calibration = (
    MetricInfo(
        "ece_top_label",
        "ECE of the predicted label (15 bins)",
        False,
        calibration_error.ece_top_label,
    ),
    MetricInfo("ece_positive", "ECE of P(y = 1) (15 bins)", False, calibration_error.ece_positive),
    MetricInfo(
        "mce_top_label",
        "MCE of the predicted label (15 bins)",
        False,
        calibration_error.mce_top_label,
    ),
    MetricInfo("mce_positive", "MCE of P(y = 1) (15 bins)", False, calibration_error.mce_positive),
    MetricInfo("brier", "Brier score, mean (p - y)^2", False, calibration_error.brier, _BINARY),
    MetricInfo("brier_sum", "Brier score, sum over classes", False, calibration_error.brier_sum),
    MetricInfo(
        "nll",
        "Negative log-likelihood (nats)",
        False,
        calibration_error.negative_log_likelihood,
        remark=_clip_remark,
    ),
)
_risk = (
    MetricInfo("aurc", "AURC (fd-shifts)", False, risk_coverage.aurc),
    MetricInfo("e_aurc", "E-AURC", False, risk_coverage.excess_aurc),
    MetricInfo("augrc", "AUGRC", False, risk_coverage.augrc),
)
_sets = (
    MetricInfo("coverage", "Coverage of the sets", None, sets.coverage, needs=_SETS),
    MetricInfo(
        "coverage_negative",
        "Coverage of class 0",
        None,
        sets.class_coverage_of(0),
        "no rows of class 0",
        _SETS,
    ),
    MetricInfo(
        "coverage_positive",
        "Coverage of class 1",
        None,
        sets.class_coverage_of(1),
        "no rows of class 1",
        _SETS,
    ),
    MetricInfo(
        "coverage_lowest_class",
        "Coverage of the least covered class",
        None,
        sets.lowest_class_coverage,
        "a class is absent",
        _SETS,
    ),
    MetricInfo("mean_set_size", "Mean set size", False, sets.mean_set_size, needs=_SETS),
    MetricInfo("empty_share", "Empty sets", False, sets.empty_share, needs=_SETS),
    MetricInfo("singleton_share", "Sets of one label", True, sets.singleton_share, needs=_SETS),
    MetricInfo(
        "answered_share", "Rows answered, not deferred", True, sets.answered_share, needs=_SETS
    ),
    MetricInfo("full_share", "Full sets", False, sets.full_share, needs=_SETS),
    MetricInfo(
        "selective_risk",
        "Error rate of the answered rows",
        False,
        sets.selective_risk,
        "every row is deferred",
        _SETS,
    ),
)

METRICS: Mapping[str, MetricInfo] = MappingProxyType(
    {info.name: info for info in (*_confusion, *_ranking, *_calibration, *_risk, *_sets)}
)


def metric_infos(names: Iterable[str] | None) -> tuple[MetricInfo, ...]:
    """Records of the named metrics, or of all.

    Raises:
        ConfigError: a name is unknown.
    """
    wanted = tuple(METRICS) if names is None else tuple(names)
    unknown = [name for name in wanted if name not in METRICS]
    if unknown:
        raise ConfigError(f"unknown metrics {', '.join(unknown)}; known are {', '.join(METRICS)}.")
    return tuple(METRICS[name] for name in wanted)


def compute_metrics(scored: ScoredSet, names: Iterable[str] | None = None) -> dict[str, Metric]:
    """Values of the named metrics, or of all, without intervals.

    Raises:
        ConfigError: a name is unknown.
    """
    return {info.name: info.compute(scored) for info in metric_infos(names)}


def class_coverage(scored: ScoredSet, level: float = 0.95) -> tuple[Metric, ...]:
    """Coverage of each class 0..K-1 with its Clopper-Pearson interval.

    The interval takes rows as independent; with groups of several rows it is too narrow, and the
    group bootstrap of ``coverage_positive`` is the honest one.

    Raises:
        DataError: the set has no prediction sets.
    """
    hits = sets.covered(scored)
    found: list[Metric] = []
    for k in range(scored.n_classes):
        of_class = scored.labels == k
        n, successes = int(of_class.sum()), int(hits[of_class].sum())
        if n == 0:
            found.append(Metric(value=None, reason=f"no rows of class {k}", n=0))
            continue
        low, high = clopper_pearson(successes, n, level)
        found.append(Metric(value=successes / n, low=low, high=high, n=n))
    return tuple(found)
