"""Calibration: from logits to probabilities that mean what they say.

``CALIBRATORS`` lists the methods; ``parse_calibrator`` reads a fitted one back from its JSON form.
Applying a calibrator needs numpy and pydantic only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, Protocol

from numpy.typing import ArrayLike
from pydantic import ValidationError

from roadwork.calibration.base import Calibrator
from roadwork.calibration.beta import BetaCalibration
from roadwork.calibration.dirichlet import DirichletL2, DirichletODIR
from roadwork.calibration.histogram import HistogramBinning
from roadwork.calibration.identity import Identity
from roadwork.calibration.isotonic import IsotonicCalibration
from roadwork.calibration.platt import PlattScaling
from roadwork.calibration.temperature import TemperatureScaling
from roadwork.errors import DataError

__all__ = [
    "CALIBRATORS",
    "BetaCalibration",
    "Calibrator",
    "CalibratorInfo",
    "DirichletL2",
    "DirichletODIR",
    "HistogramBinning",
    "Identity",
    "IsotonicCalibration",
    "PlattScaling",
    "TemperatureScaling",
    "parse_calibrator",
]


@dataclass(frozen=True)
class CalibratorInfo:
    """One method.

    Attributes:
        name: key in ``CALIBRATORS`` and in the settings.
        title: words for people.
        model: what ``fit`` gives.
        reference: the source.
        classes: "any" number of classes from 2 on, or "two" alone.
    """

    name: str
    title: str
    model: type[Calibrator]
    reference: str
    classes: Literal["any", "two"] = "any"

    @property
    def fit(self) -> Fit:
        """``fit(logits, labels, groups=None)``; see :class:`Calibrator`."""
        return self.model.fit


class Fit(Protocol):
    """What fits a calibrator."""

    def __call__(
        self, logits: ArrayLike, labels: ArrayLike, groups: ArrayLike | None = None
    ) -> Calibrator:
        """Fit on logits (N, K), labels (N,) and the group of every row (N,)."""
        ...


# From the simplest map to the most flexible one: the choice among equals goes by this order.
CALIBRATORS: Mapping[str, CalibratorInfo] = MappingProxyType(
    {
        info.name: info
        for info in (
            CalibratorInfo(
                name="identity",
                title="No calibration (softmax)",
                model=Identity,
                reference="none",
            ),
            CalibratorInfo(
                name="temperature",
                title="Temperature scaling",
                model=TemperatureScaling,
                reference="Guo et al., ICML 2017, arXiv 1706.04599",
            ),
            CalibratorInfo(
                name="platt",
                title="Platt scaling",
                model=PlattScaling,
                reference="Platt, Advances in Large Margin Classifiers, 1999",
                classes="two",
            ),
            CalibratorInfo(
                name="beta",
                title="Beta calibration (abm)",
                model=BetaCalibration,
                reference="Kull, Silva Filho, Flach, AISTATS 2017",
                classes="two",
            ),
            CalibratorInfo(
                name="dirichlet_odir",
                title="Dirichlet calibration (ODIR)",
                model=DirichletODIR,
                reference="Kull et al., NeurIPS 2019, arXiv 1910.12656",
            ),
            CalibratorInfo(
                name="dirichlet_l2",
                title="Dirichlet calibration (L2)",
                model=DirichletL2,
                reference="Kull et al., NeurIPS 2019, arXiv 1910.12656",
            ),
            CalibratorInfo(
                name="histogram",
                title="Histogram binning",
                model=HistogramBinning,
                reference="Zadrozny, Elkan, ICML 2001",
            ),
            CalibratorInfo(
                name="isotonic",
                title="Isotonic regression",
                model=IsotonicCalibration,
                reference="Zadrozny, Elkan, KDD 2002",
            ),
        )
    }
)


def parse_calibrator(data: Mapping[str, object]) -> Calibrator:
    """Rebuild a fitted calibrator from ``model_dump()`` or from its parsed JSON.

    Raises:
        DataError: the method is unknown, or the fields are not those of the method.
    """
    method = data.get("method")
    info = CALIBRATORS.get(method) if isinstance(method, str) else None
    if info is None:
        raise DataError(f"unknown calibrator {method!r}; known are {', '.join(CALIBRATORS)}.")
    try:
        return info.model.model_validate(dict(data))
    except ValidationError as error:
        raise DataError(f"the stored {method} calibrator is not valid: {error}") from error
