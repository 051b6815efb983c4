"""The registry of metrics.

``METRICS`` names every metric; ``compute_metrics`` computes them for a ``ScoredSet``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import numpy as np

from roadwork.errors import ConfigError
from roadwork.evaluation import (
    adaptive_calibration,
    brier_decomposition,
    calibration_error,
    confusion,
    ranking,
    risk_coverage,
)
from roadwork.evaluation import prediction_sets as sets
from roadwork.evaluation.intervals import clopper_pearson
from roadwork.evaluation.metric import Metric, MetricInfo, Need
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
_TWO = "defined for two classes only"
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
    MetricInfo("auroc", "AUROC", True, ranking.auroc, _ONE_CLASS, "rows"),
    MetricInfo(
        "auprc",
        "AUPRC (average precision)",
        True,
        ranking.average_precision,
        "no positives present",
        "rows",
    ),
    MetricInfo(
        "recall_at_90_precision",
        "Recall at 90 % precision",
        True,
        ranking.recall_at(0.9),
        "no positives present",
        "rows",
    ),
    MetricInfo(
        "within_group_auroc",
        "AUROC within groups",
        True,
        ranking.within_group,
        "no group has both classes",
        needs=_GROUPS,
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
    MetricInfo(
        "ece_classwise",
        "Classwise ECE, SCE (15 bins)",
        False,
        calibration_error.classwise_ece,
    ),
    MetricInfo(
        "ece_equal_mass",
        "ECE of P(y = 1) (15 bins of equal mass)",
        False,
        adaptive_calibration.ece_equal_mass,
        reads="rows",
    ),
    MetricInfo(
        "ece_debiased",
        "Calibration error of P(y = 1), root mean square, debiased",
        False,
        adaptive_calibration.ece_debiased,
        reads="rows",
    ),
    MetricInfo(
        "ece_smooth",
        "Smooth calibration error of P(y = 1)",
        False,
        adaptive_calibration.ece_smooth,
        reads="rows",
    ),
    MetricInfo("brier", "Brier score, mean (p - y)^2", False, calibration_error.brier, _BINARY),
    MetricInfo("brier_sum", "Brier score, sum over classes", False, calibration_error.brier_sum),
    MetricInfo(
        "brier_reliability",
        "Brier score: reliability (15 bins)",
        False,
        brier_decomposition.reliability,
        _TWO,
    ),
    MetricInfo(
        "brier_resolution",
        "Brier score: resolution (15 bins)",
        True,
        brier_decomposition.resolution,
        _TWO,
    ),
    MetricInfo(
        "brier_uncertainty",
        "Brier score: uncertainty of the outcome",
        None,
        brier_decomposition.uncertainty,
        _TWO,
    ),
    MetricInfo(
        "brier_within_bins",
        "Brier score: spread within bins (15 bins)",
        None,
        brier_decomposition.within_bins,
        _TWO,
    ),
    MetricInfo(
        "nll",
        "Negative log-likelihood (nats)",
        False,
        calibration_error.negative_log_likelihood,
        remark=_clip_remark,
    ),
)
_risk = (
    MetricInfo("aurc", "AURC (fd-shifts)", False, risk_coverage.aurc, reads="rows"),
    MetricInfo("e_aurc", "E-AURC", False, risk_coverage.excess_aurc, reads="rows"),
    MetricInfo("augrc", "AUGRC", False, risk_coverage.augrc, reads="rows"),
    MetricInfo(
        "risk_at_80_coverage",
        "Error rate of the most confident 80 %",
        False,
        risk_coverage.risk_at(0.8),
        reads="rows",
    ),
    MetricInfo(
        "risk_at_90_coverage",
        "Error rate of the most confident 90 %",
        False,
        risk_coverage.risk_at(0.9),
        reads="rows",
    ),
)
_sets = (
    MetricInfo("coverage", "Coverage of the sets", None, sets.coverage, needs=_SETS),
    MetricInfo(
        "coverage_negative",
        "Coverage of class 0",
        None,
        sets.class_coverage_of(0),
        "no rows of class 0",
        needs=_SETS,
    ),
    MetricInfo(
        "coverage_positive",
        "Coverage of class 1",
        None,
        sets.class_coverage_of(1),
        "no rows of class 1",
        needs=_SETS,
    ),
    MetricInfo(
        "coverage_lowest_class",
        "Coverage of the least covered class",
        None,
        sets.lowest_class_coverage,
        "a class is absent",
        needs=_SETS,
    ),
    MetricInfo(
        "coverage_lowest_size",
        "Coverage of the least covered size of sets",
        None,
        sets.size_stratified_coverage,
        "every set is empty",
        needs=_SETS,
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
        needs=_SETS,
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
