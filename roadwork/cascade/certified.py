"""A cascade that may answer: its stages, the calibrator of each, and the exits with their promise.

Every part is fitted on data that the ones beneath have not seen: the heads on TRAIN (chosen on
VAL_SELECT), both calibrators on the calibration set, the exits on the conformal set.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch

from roadwork.calibration.base import FloatArray
from roadwork.calibration.fitted import FittedCalibrator, fit_calibrator
from roadwork.cascade.fitted import FittedExitPolicy, fit_exit_policy
from roadwork.cascade.policy import Answers, ExitPromise
from roadwork.cascade.stages import Cascade
from roadwork.data.exposure import Exposure
from roadwork.data.loading import ViewReader
from roadwork.data.manifest import CalibrationSet, ConformalSet, SampleSet
from roadwork.errors import DataError
from roadwork.models.inference import run_batches
from roadwork.settings import CascadeSettings, DataSettings, Settings

__all__ = ["CertifiedCascade", "certify", "predict_stages"]

logger = logging.getLogger(__name__)

_PARTS = ("stages", "calibration_1", "calibration_2", "exits")
_INDEX = "certified.json"


def predict_stages(
    cascade: Cascade, dataset: SampleSet, data: DataSettings
) -> tuple[FloatArray, FloatArray]:
    """Logits (N, 2) of both stages for a set, in row order; every view is seen once."""
    spec = cascade.spec.classifier
    reader = ViewReader(dataset, spec.image_size, spec.views.tiles, data.workers)
    network = cascade.network.eval().to("cuda" if torch.cuda.is_available() else "cpu")
    found = run_batches(
        lambda views: torch.stack(network(views), dim=1),
        reader,
        f"Both stages on the {dataset.role} set",
    )
    network.cpu()
    return found[:, 0], found[:, 1]


@dataclass(frozen=True)
class CertifiedCascade:
    """All that a service needs to answer with a cascade.

    Attributes:
        cascade: both stages.
        calibrators: of stage 1 and of stage 2. Where stage 2 is the classifier as it was, the
            second is the classifier's own calibrator, as far as rounding goes: the same method on
            the same logits.
        exits: when stage 1 answers.
    """

    cascade: Cascade
    calibrators: tuple[FittedCalibrator, FittedCalibrator]
    exits: FittedExitPolicy

    @property
    def title(self) -> str:
        """What error messages and reports call it."""
        return self.cascade.title

    @property
    def exposure(self) -> Exposure:
        """What touched any part."""
        return Exposure().union(*(part.exposure for part in self._fitted))

    @property
    def content_hash(self) -> str:
        """Changes with any part."""
        hashes = "\n".join(part.content_hash for part in self._fitted)
        return hashlib.sha256(hashes.encode()).hexdigest()

    @property
    def _fitted(self) -> tuple[Cascade, FittedCalibrator, FittedCalibrator, FittedExitPolicy]:
        return self.cascade, *self.calibrators, self.exits

    def probabilities(
        self, first_logits: FloatArray, second_logits: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Calibrated probabilities (N, 2) of both stages."""
        one, two = self.calibrators
        return one.model.transform(first_logits), two.model.transform(second_logits)

    def decide(self, first_logits: FloatArray, second_logits: FloatArray) -> Answers:
        """Answers to N images from both stages' logits (N, 2)."""
        return self.exits.model.decide(*self.probabilities(first_logits, second_logits))

    def save(self, folder: Path) -> None:
        """Write one folder a part, and their common hash."""
        for name, part in zip(_PARTS, self._fitted, strict=True):
            (folder / name).mkdir()
            part.save(folder / name)
        text = json.dumps({"hash": self.content_hash}, indent=1)
        (folder / _INDEX).write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what :meth:`save` wrote.

        Raises:
            DataError: the parts are not those that were written together.
        """
        stages, one, two, exits = (folder / name for name in _PARTS)
        found = cls(
            Cascade.load(stages),
            (FittedCalibrator.load(one), FittedCalibrator.load(two)),
            FittedExitPolicy.load(exits),
        )
        expected = json.loads((folder / _INDEX).read_text(encoding="utf-8"))["hash"]
        if found.content_hash != expected:
            raise DataError(
                f"the cascade in {folder} is damaged: its parts were not written together. Fetch "
                "it again, or fit the exits again"
            )
        return found


def certify(
    cascade: Cascade,
    calibration: CalibrationSet,
    conformal: ConformalSet,
    settings: Settings,
) -> CertifiedCascade:
    """Calibrate both stages, and fit the exits on top of them.

    Where no exit can be certified, no image exits at stage 1, and the log says what is missing.

    Args:
        cascade: of :func:`~roadwork.cascade.train.train_cascade`.
        calibration: both calibrators are fitted here.
        conformal: the exits are fitted here.
        settings: resolved; ``calibrate``, ``cascade`` and ``data`` are used.

    Raises:
        LeakageError: another role's set, or data that a part was exposed to.
        DataError: a set that cannot be calibrated on.
    """
    wanted = settings.calibrate
    logits = predict_stages(cascade, calibration, settings.data)
    one, two = (
        fit_calibrator(cascade, calibration, stage, wanted.method, wanted.deployment_prior)
        for stage in logits
    )
    if wanted.deployment_prior is not None:
        logger.warning(
            "calibrate.deployment_prior is %s, but the exits promise for the share of roadwork of "
            "the conformal set (%.3f): only the promise on images of roadwork can carry over",
            wanted.deployment_prior,
            float(np.mean(conformal.labels)),
        )
    first, second = predict_stages(cascade, conformal, settings.data)
    exits = fit_exit_policy(
        [cascade, one, two],
        conformal,
        one.model.transform(first),
        two.model.transform(second),
        _promise(settings.cascade),
        settings.cascade.path,
    )
    say = logger.info if exits.model.feasible else logger.warning
    say("%s", exits.model.guarantee)
    return CertifiedCascade(cascade, (one, two), exits)


def _promise(settings: CascadeSettings) -> ExitPromise:
    return ExitPromise(
        max_accuracy_loss=settings.max_accuracy_loss,
        max_recall_loss=settings.max_recall_loss,
        max_wrong=settings.max_wrong,
        delta=settings.delta,
    )
