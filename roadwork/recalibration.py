"""Recalibration: a sealed bundle's policy, fitted again on new labelled data. Nothing is trained.

The logits come from the bundle's own exported graph through ONNX Runtime in float32, the engine
that every bundle has and that answers in service: the calibrator is fitted on what is served. The
graph and the weights go into the new bundle byte for byte
(:mod:`roadwork.export.repackage`), so that no answer of the network can change.

What the old calibrator and the old thresholds were fitted on has not touched the network and is
left behind with them: the new bundle's exposure is that of the network and of the new policy. New
data must be new to the whole of the old bundle all the same, since it is judged beside the new one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from roadwork import POSITIVE
from roadwork.bundle import ModelBundle
from roadwork.calibration.base import softmax
from roadwork.calibration.choice import CalibratorComparison
from roadwork.calibration.fitted import FittedCalibrator, fit_and_compare
from roadwork.calibration.label_shift import warn_of_marginal_coverage
from roadwork.conformal import Rows
from roadwork.conformal.fitted import FittedConformal, fit_conformal
from roadwork.data.exposure import Exposure, Use, require_unexposed
from roadwork.data.loading import ViewReader
from roadwork.data.manifest import CalibrationSet, ConformalSet, SampleSet, TestSet
from roadwork.engines import OnnxRuntimeEngine
from roadwork.engines.base import Engine
from roadwork.errors import ConfigError
from roadwork.evaluation.evaluate import Baseline, build_report
from roadwork.evaluation.record import DataSummary, EvaluationReport
from roadwork.pairing import TestScores
from roadwork.progress import progress
from roadwork.reevaluation import made_settings, model_info, pictures
from roadwork.settings import Settings
from roadwork.settings.recalibrate import TAKEN

__all__ = [
    "Certified",
    "Recalibrated",
    "SealedNetwork",
    "certify",
    "recalibrate",
    "recalibrated_settings",
]

_OF_THE_POLICY = frozenset({Use.CALIBRATE, Use.CONFORMALISE})
_BATCH = 32  # photographs read ahead of the engine, which answers them one by one


@dataclass(frozen=True)
class SealedNetwork:
    """The network within a bundle: its logits, and what touched it."""

    bundle: ModelBundle
    engine: Engine

    @classmethod
    def open(cls, bundle: ModelBundle, threads: int = 0) -> Self:
        """Open the bundle's graph with ONNX Runtime on so many threads (0: all)."""
        return cls(bundle, OnnxRuntimeEngine(bundle.read("model.onnx"), threads))

    @property
    def title(self) -> str:
        """What messages call it."""
        return f"network of the {self.bundle.title}"

    @property
    def exposure(self) -> Exposure:
        """What trained the network and chose it, without what its policy was fitted on."""
        uses = self.bundle.exposure.uses
        return Exposure({use: ids for use, ids in uses.items() if use not in _OF_THE_POLICY})

    def logits(self, dataset: SampleSet, workers: int = 2) -> NDArray[np.float64]:
        """Logits (N, K) of a set in row order; ``workers`` threads decode."""
        form = self.bundle.preprocessor
        reader = ViewReader(dataset, form.size, form.tiles, workers)
        rows, done = [], 0
        with progress(f"Scoring the {dataset.role} set") as update:
            for views in reader.batches(_BATCH):
                rows.append(self.engine.run(views))
                done += len(views)
                update(done, len(dataset))
        return np.concatenate(rows).astype(np.float64)


@dataclass(frozen=True)
class Recalibrated:
    """A new policy for a network.

    Attributes:
        calibrator: from logits to probabilities.
        comparison: what the choice of the calibrator rests on.
        conformal: from probabilities to prediction sets.
    """

    calibrator: FittedCalibrator
    comparison: CalibratorComparison
    conformal: FittedConformal


@dataclass(frozen=True)
class Certified:
    """A new policy, judged beside the old one.

    Attributes:
        report: of the new policy; its baseline is the old bundle, unchanged.
        scores: answers of the new policy on the test set.
        champion_scores: answers of the old bundle on the same test set.
    """

    report: EvaluationReport
    scores: TestScores
    champion_scores: TestScores


def recalibrated_settings(champion: ModelBundle, run: Settings) -> Settings:
    """The bundle's settings with those parts of the run's that a recalibration takes.

    Args:
        champion: what is recalibrated.
        run: resolved settings of the recalibration.

    Raises:
        BundleError: this version cannot read the bundle's settings.
        ConfigError: larger images are let in than the bundle would read in service.
    """
    most = champion.preprocessor.max_megapixels
    if run.data.max_megapixels > most:
        raise ConfigError(
            f"data.max_megapixels is {run.data.max_megapixels:g}, and the {champion.title} refuses "
            f"images of more than {most:g} in service: set it to {most:g}"
        )
    fields = {field.alias or name: name for name, field in Settings.model_fields.items()}
    taken = {fields[key]: getattr(run, fields[key]) for key in TAKEN}
    return made_settings(champion, without=TAKEN).model_copy(update=taken)


def recalibrate(
    champion: ModelBundle,
    calibration: CalibrationSet,
    conformal_set: ConformalSet,
    settings: Settings,
) -> Recalibrated:
    """Fit a calibrator and conformal thresholds on the logits of a sealed network.

    Args:
        champion: the bundle; read, never changed.
        calibration: new to the bundle.
        conformal_set: new to the bundle, and of other groups than ``calibration``.
        settings: of :func:`recalibrated_settings`.

    Raises:
        LeakageError: the bundle has seen one of the sets, or they share a group.
        DataError: the sets cannot be calibrated on.
        ConfigError: the calibrator or the predictor cannot be had for these data.
    """
    for part in (calibration, conformal_set):
        # A cached property is a property to everybody but the type checker.
        require_unexposed(champion, part, "recalibrate")  # pyright: ignore[reportArgumentType]
    network, workers = SealedNetwork.open(champion), settings.data.workers
    wanted = settings.calibrate
    calibrator, comparison = fit_and_compare(
        network,
        calibration,
        network.logits(calibration, workers),
        wanted.method,
        wanted.deployment_prior,
    )
    warn_of_marginal_coverage(calibrator.model, settings.conformal.method)
    conformal = fit_conformal(
        network,
        calibrator,
        conformal_set,
        calibrator.model.transform(network.logits(conformal_set, workers)),
        settings.conformal,
        settings.seed,
    )
    return Recalibrated(calibrator, comparison, conformal)


def certify(
    champion: ModelBundle,
    policy: Recalibrated,
    test: TestSet,
    data: DataSummary,
    settings: Settings,
) -> Certified:
    """Judge a new policy, and the old bundle beside it, on a test set that is new to both.

    Args:
        champion: the bundle that was recalibrated.
        policy: what :func:`recalibrate` gave for it.
        test: new to both.
        data: see :func:`~roadwork.evaluation.evaluate.summarise_data`.
        settings: of :func:`recalibrated_settings`.

    Raises:
        LeakageError: the old bundle or the new policy has seen a test image or group.
    """
    parts = (champion, policy.calibrator, policy.conformal)
    for part in parts:
        require_unexposed(part, test, "evaluate")  # pyright: ignore[reportArgumentType]
    network = SealedNetwork.open(champion)
    logits = network.logits(test, settings.data.workers)
    after = policy.calibrator.model.transform(logits)
    before = champion.calibrator.transform(logits)
    info = model_info(champion, network.engine.name)
    report = build_report(
        settings=settings,
        test=test,
        probabilities=after,
        conformal=policy.conformal.model,
        exposure=policy.conformal.exposure.union(policy.calibrator.exposure),
        data=data,
        model=info.model_copy(
            update={
                "title": "Recalibrated",
                "description": f"The network of the {champion.title}, answering through "
                f"{network.engine.name}; calibrator and thresholds are fitted anew.",
                "calibrator": policy.calibrator.model.summary,
            }
        ),
        uncalibrated=softmax(logits),
        baseline=Baseline(
            title="The champion, unchanged",
            description=_old_sets(champion, before, test),
            probabilities=before,
        ),
        thumbnails=lambda rows: pictures(test.uris, rows),
        calibrators=policy.comparison,
    )
    return Certified(report, TestScores.of(test, after), TestScores.of(test, before))


def _old_sets(champion: ModelBundle, probabilities: NDArray[np.float64], test: TestSet) -> str:
    """What the old bundle's sets and decisions do on the new data, in words."""
    old = champion.conformal
    sets = old.predict_set(probabilities, Rows(ids=test.sample_ids))
    held = int(sets[np.arange(len(test)), test.labels].sum())
    decisions = champion.policy.decide(probabilities, POSITIVE)
    deferred = int(champion.policy.defers(sets, decisions).sum())
    return (
        f"The same network with the calibrator and the thresholds of the {champion.title}. On "
        f"these images its sets hold the true label in {held} of {len(test)} (promised: "
        f"{100 * (1 - old.alpha):.4g} %), and {deferred} would go to a person."
    )
