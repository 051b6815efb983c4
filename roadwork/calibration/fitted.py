"""A fitted calibrator with its exposure, and the only door through which one is fitted."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from roadwork.calibration import CALIBRATORS, Calibrator, parse_calibrator
from roadwork.data.contract import require_role, validate_policy_fitting
from roadwork.data.exposure import Exposed, Exposure, Use
from roadwork.data.manifest import CalibrationSet
from roadwork.errors import DataError

__all__ = ["FittedCalibrator", "fit_calibrator"]


@dataclass(frozen=True)
class FittedCalibrator:
    """A map from logits to probabilities, and what touched it and the model beneath it."""

    model: Calibrator
    exposure: Exposure
    title: str = "calibrator"

    @property
    def content_hash(self) -> str:
        """Changes with the parameters or the exposure."""
        digest = hashlib.sha256(self.model.model_dump_json().encode())
        digest.update(self.exposure.to_bytes())
        return digest.hexdigest()

    def save(self, folder: Path) -> None:
        """Write ``calibration.json`` and ``exposure.bin``."""
        (folder / "calibration.json").write_text(self.model.model_dump_json(indent=2))
        (folder / "exposure.bin").write_bytes(self.exposure.to_bytes())

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what :meth:`save` wrote."""
        model = parse_calibrator(json.loads((folder / "calibration.json").read_text()))
        return cls(model, Exposure.from_bytes((folder / "exposure.bin").read_bytes()))


def fit_calibrator(
    classifier: Exposed, dataset: CalibrationSet, logits: ArrayLike, method: str
) -> FittedCalibrator:
    """Fit a calibrator on the classifier's logits of the calibration set.

    Args:
        classifier: gave the logits; must not have seen the set.
        dataset: the calibration set.
        logits: (N, K) in the set's row order.
        method: a key of ``CALIBRATORS``.

    Raises:
        LeakageError: another role's set, or data that the classifier was exposed to.
        DataError: logits that do not belong to the set, or that cannot be calibrated on.
    """
    require_role(dataset, "calibrate", CalibrationSet)
    validate_policy_fitting([classifier], dataset)
    if np.shape(logits)[:1] != (len(dataset),):
        raise DataError(f"{np.shape(logits)} logits for the {len(dataset)} rows to calibrate on")
    model = CALIBRATORS[method].fit(logits, dataset.labels)
    return FittedCalibrator(model, classifier.exposure.union(Exposure.of(Use.CALIBRATE, dataset)))
