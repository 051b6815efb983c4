"""Calibration: from logits to probabilities that mean what they say.

``CALIBRATORS`` lists the methods; ``parse_calibrator`` reads a fitted one back from its JSON form.
Applying a calibrator needs numpy and pydantic only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from numpy.typing import ArrayLike
from pydantic import ValidationError

from roadwork.calibration.base import Calibrator
from roadwork.calibration.identity import Identity
from roadwork.calibration.temperature import TemperatureScaling
from roadwork.errors import DataError

__all__ = [
    "CALIBRATORS",
    "Calibrator",
    "CalibratorInfo",
    "Identity",
    "TemperatureScaling",
    "parse_calibrator",
]


@dataclass(frozen=True)
class CalibratorInfo:
    """One method: ``fit(logits, labels)`` gives an instance of ``model``."""

    name: str
    title: str
    fit: Callable[[ArrayLike, ArrayLike], Calibrator]
    model: type[Calibrator]
    reference: str


CALIBRATORS: Mapping[str, CalibratorInfo] = MappingProxyType(
    {
        info.name: info
        for info in (
            CalibratorInfo(
                name="identity",
                title="No calibration (softmax)",
                fit=Identity.fit,
                model=Identity,
                reference="none",
            ),
            CalibratorInfo(
                name="temperature",
                title="Temperature scaling",
                fit=TemperatureScaling.fit,
                model=TemperatureScaling,
                reference="Guo et al., ICML 2017, arXiv 1706.04599",
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
