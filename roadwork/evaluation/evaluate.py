"""From arrays to the evaluation report: every figure computed once, in one place.

Nothing here decodes an image or runs a network: probabilities come in, a record goes out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

import roadwork
from roadwork.calibration.choice import CalibratorComparison
from roadwork.conformal import ConformalPredictor, Rows
from roadwork.data.exposure import Exposure, require_unexposed
from roadwork.data.manifest import Manifest, SampleSet, TestSet
from roadwork.errors import DataError
from roadwork.evaluation.bootstrap import bootstrap, paired_bootstrap
from roadwork.evaluation.coverage import conformal_record
from roadwork.evaluation.curves import reliability_diagram, risk_coverage_curve
from roadwork.evaluation.defer import defer_record
from roadwork.evaluation.metrics import Metric, within_group_auroc
from roadwork.evaluation.record import (
    Count,
    DataSummary,
    EvaluationReport,
    ModelInfo,
    ModelRow,
    Provenance,
    Reliability,
    ScoreHistogram,
    WithinGroup,
)
from roadwork.evaluation.scored import ScoredSet
from roadwork.evaluation.slice_tests import slice_gaps
from roadwork.evaluation.sliced import GAP_METRIC, slice_columns, slice_reports
from roadwork.evaluation.worst import Thumbnails, worst_errors
from roadwork.risk_control.defer import DeferThreshold
from roadwork.settings import Settings

__all__ = [
    "COMPARED",
    "REPORTED",
    "Baseline",
    "build_report",
    "count_images",
    "settings_hash",
    "summarise_data",
    "test_hash",
]

REPORTED: tuple[str, ...] = (
    "auroc",
    "auprc",
    "within_group_auroc",
    "mcc",
    "f1",
    "precision",
    "recall",
    "accuracy",
    "balanced_accuracy",
    "brier",
    "nll",
    "ece_positive",
    "ece_top_label",
    "aurc",
    "e_aurc",
    "augrc",
)
"""Metrics of every row of the report, in the order in which they are shown."""

OF_SETS: tuple[str, ...] = (
    "coverage",
    "coverage_negative",
    "coverage_positive",
    "mean_set_size",
    "singleton_share",
    "answered_share",
    "selective_risk",
)
"""Further metrics of the row that has prediction sets."""

COMPARED: tuple[str, ...] = ("auroc", "mcc", "brier")
HISTOGRAM_BINS = 20
CURVE_POINTS = 200


@dataclass(frozen=True)
class Baseline:
    """The simple model to beat: ``probabilities`` (N, 2) of the same test rows."""

    title: str
    description: str
    probabilities: ArrayLike


@dataclass(frozen=True)
class _Model:
    """What is about to be judged, for the text of a refusal."""

    exposure: Exposure
    title: str = "evaluated model"


def summarise_data(manifest: Manifest, sets: Iterable[SampleSet]) -> DataSummary:
    """Counts of every role and source, of what was set aside and why."""
    groups = np.asarray(manifest.table.column("group_id").to_pylist())
    sources = np.asarray(manifest.table.column("source").to_pylist())
    labels = manifest.table.column("label").to_numpy()
    return DataSummary(
        roles={str(part.role): count_images(part.labels, part.groups) for part in sets},
        sources={
            str(name): count_images(labels[sources == name], groups[sources == name])
            for name in np.unique(sources)
        },
        quarantine=manifest.quarantine_counts(),
        exact_copies=manifest.duplicates.num_rows,
    )


def settings_hash(settings: Settings) -> str:
    """SHA-256 of the settings without the paths of this machine."""
    tree = settings.model_dump(
        mode="json",
        exclude={
            "runs": True,
            "data": {"sources": {"__all__": {"root"}}, "reference": True, "shards": {"to"}},
            "backbone": {"weights_path"},
        },
    )
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()


def build_report(
    *,
    settings: Settings,
    test: TestSet,
    probabilities: ArrayLike,
    conformal: ConformalPredictor,
    exposure: Exposure,
    data: DataSummary,
    model: ModelInfo,
    uncalibrated: ArrayLike | None = None,
    baseline: Baseline | None = None,
    thumbnails: Thumbnails | None = None,
    calibrators: CalibratorComparison | None = None,
    defer: DeferThreshold | None = None,
) -> EvaluationReport:
    """Judge a model on the test set.

    Intervals come from ``settings.evaluate.bootstrap`` resamples of whole groups, drawn from
    ``settings.seed``: equal arguments give an equal report, byte for byte.

    Args:
        settings: of the run; the report keeps their hash, the name and whether scenes are drawn.
        test: the rows that are judged; must not have touched anything that was fitted.
        probabilities: (N, 2) calibrated, in row order; column 1 is roadwork.
        conformal: the fitted predictor of sets.
        exposure: of everything that made the probabilities and the sets.
        data: see :func:`summarise_data`.
        model: what is judged, in words.
        uncalibrated: (N, 2) before calibration, for the comparison of the two.
        baseline: the simple model to beat.
        thumbnails: called once with the rows of the worst errors.
        calibrators: how the calibrator was chosen.
        defer: a defer threshold to judge; its own exposure must be in ``exposure``.

    Raises:
        LeakageError: a test image or group is in the exposure.
        DataError: arrays that do not fit the test set, or a thumbnail that is too large.
        ConfigError: ``settings.evaluate.slices`` names a column that does not exist.
    """
    require_unexposed(_Model(exposure), test, "evaluate")
    labels, groups = test.labels, test.groups
    scored = _score("probabilities", probabilities, labels, groups)
    # Without slices, as in service: what is judged is what is answered there.
    sets = conformal.predict_set(probabilities, Rows(ids=test.sample_ids))
    scored = ScoredSet(scored.probabilities, labels, sets, groups)
    wanted = {"resamples": settings.evaluate.bootstrap, "seed": settings.seed}
    judged = bootstrap(scored, REPORTED + OF_SETS, **wanted)
    rows = [_row("model", model.title, model.description, judged.metrics)]
    before = None
    if uncalibrated is not None:
        before = _score("uncalibrated probabilities", uncalibrated, labels, groups)
        rows.append(
            _row(
                "uncalibrated",
                "The same, before calibration",
                "The same network, with the softmax of its logits as probabilities.",
                bootstrap(before, REPORTED, **wanted).metrics,
            )
        )
    comparison = []
    if baseline is not None:
        rival = _score("probabilities of the baseline", baseline.probabilities, labels, groups)
        metrics = bootstrap(rival, REPORTED, **wanted).metrics
        rows.append(_row("baseline", baseline.title, baseline.description, metrics))
        comparison = [
            paired_bootstrap(
                name, rival.probabilities, scored.probabilities, labels, groups, **wanted
            )
            for name in COMPARED
        ]
    columns = slice_columns(settings, test)
    pairs = within_group_auroc(scored.probabilities[:, 1], labels, groups)
    report = EvaluationReport(
        name=settings.name,
        synthetic=any(source.kind == "synthetic" for source in settings.data.sources),
        classes=roadwork.CLASSES,
        model=model,
        data=data,
        test=count_images(labels, groups),
        rows=tuple(rows),
        within_group=WithinGroup(n_pairs=pairs.n_pairs, n_groups=pairs.n_groups),
        comparison=tuple(comparison),
        conformal=conformal_record(scored, conformal, columns),
        reliability=Reliability(
            before=reliability_diagram(before, "positive") if before else None,
            after=reliability_diagram(scored, "positive"),
        ),
        risk_coverage=risk_coverage_curve(scored, CURVE_POINTS),
        histogram=_histogram(scored),
        slices=slice_reports(scored, columns, **wanted),
        slice_tests=slice_gaps(scored, columns, GAP_METRIC, **wanted),
        calibrators=calibrators,
        defer=None if defer is None else defer_record(scored, defer),
        worst_errors=worst_errors(settings.evaluate.worst, test, scored, thumbnails),
        exposure=exposure.counts(),
        provenance=Provenance(
            settings_hash=settings_hash(settings),
            test_hash=test_hash(test),
            code_version=roadwork.__version__,
            seed=settings.seed,
            bootstrap=settings.evaluate.bootstrap,
            bootstrap_skipped={name: count for name, count in judged.skipped.items() if count},
        ),
    )
    return report.rounded()


def test_hash(test: TestSet) -> str:
    """Hash of what was judged; the whole row would bring in where the images lie."""
    columns = test.table.select(["sample_id", "label", "group_id"]).to_pydict()
    return hashlib.sha256(json.dumps(columns, sort_keys=True).encode()).hexdigest()


def _score(name: str, values: ArrayLike, labels: np.ndarray, groups: np.ndarray) -> ScoredSet:
    table = np.asarray(values, dtype=np.float64)
    if table.shape != (len(labels), len(roadwork.CLASSES)):
        raise DataError(
            f"the {name} must have shape ({len(labels)}, {len(roadwork.CLASSES)}), one row per "
            f"test image and one column per class, but have shape {table.shape}."
        )
    return ScoredSet(probabilities=table, labels=labels, groups=groups)


def count_images(labels: np.ndarray, groups: np.ndarray) -> Count:
    """Images, those of roadwork, and groups, of labels (N,) and groups (N,)."""
    return Count(
        n=len(labels),
        n_positive=int((labels == roadwork.POSITIVE).sum()),
        n_groups=len(np.unique(groups)),
    )


def _row(key: str, title: str, description: str, metrics: Mapping[str, Metric]) -> ModelRow:
    return ModelRow.model_validate(
        {"key": key, "title": title, "description": description, "metrics": dict(metrics)}
    )


def _histogram(scored: ScoredSet) -> ScoreHistogram:
    scores = scored.probabilities[:, roadwork.POSITIVE]
    return ScoreHistogram(
        counts={
            name: tuple(
                np.histogram(scores[scored.labels == k], HISTOGRAM_BINS, (0.0, 1.0))[0].tolist()
            )
            for k, name in enumerate(roadwork.CLASSES)
        }
    )
