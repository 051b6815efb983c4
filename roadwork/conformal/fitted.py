"""A fitted conformal predictor with its exposure, and the only door through which one is fitted."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from roadwork.conformal import CONFORMAL, ConformalPredictor, parse_conformal
from roadwork.data.contract import require_role, validate_policy_fitting
from roadwork.data.exposure import Exposed, Exposure, Use
from roadwork.data.manifest import ConformalSet
from roadwork.errors import DataError

__all__ = ["FittedConformal", "fit_conformal"]


@dataclass(frozen=True)
class FittedConformal:
    """Thresholds for prediction sets, and what touched them and everything beneath them."""

    model: ConformalPredictor
    exposure: Exposure
    title: str = "conformal predictor"

    @property
    def content_hash(self) -> str:
        """Changes with the thresholds or the exposure."""
        digest = hashlib.sha256(self.model.model_dump_json().encode())
        digest.update(self.exposure.to_bytes())
        return digest.hexdigest()

    def save(self, folder: Path) -> None:
        """Write ``conformal.json`` and ``exposure.bin``."""
        (folder / "conformal.json").write_text(self.model.model_dump_json(indent=2))
        (folder / "exposure.bin").write_bytes(self.exposure.to_bytes())

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what :meth:`save` wrote."""
        model = parse_conformal(json.loads((folder / "conformal.json").read_text()))
        return cls(model, Exposure.from_bytes((folder / "exposure.bin").read_bytes()))


def fit_conformal(
    classifier: Exposed,
    calibrator: Exposed,
    dataset: ConformalSet,
    probabilities: ArrayLike,
    method: str,
    alpha: float,
) -> FittedConformal:
    """Fit thresholds on calibrated probabilities of the conformal set.

    Args:
        classifier: must not have seen the set.
        calibrator: gave the probabilities; must not have seen the set.
        dataset: the conformal set.
        probabilities: (N, K) in the set's row order.
        method: a key of ``CONFORMAL``.
        alpha: allowed share of missed labels.

    Raises:
        LeakageError: another role's set, or data that one of the two was exposed to.
        DataError: probabilities that do not belong to the set.
    """
    require_role(dataset, "conformalise", ConformalSet)
    validate_policy_fitting([classifier, calibrator], dataset)
    if np.shape(probabilities)[:1] != (len(dataset),):
        raise DataError(f"{np.shape(probabilities)} probabilities for {len(dataset)} rows")
    model = CONFORMAL[method].fit(probabilities, dataset.labels, alpha, groups=dataset.groups)
    exposure = classifier.exposure.union(
        calibrator.exposure, Exposure.of(Use.CONFORMALISE, dataset)
    )
    return FittedConformal(model, exposure)
