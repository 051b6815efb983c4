"""Conformal prediction: sets of labels that contain the true one as often as promised.

``CONFORMAL`` lists the methods; ``parse_conformal`` reads a fitted one back from its JSON form.
Applying a predictor needs numpy and pydantic only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from numpy.typing import ArrayLike
from pydantic import ValidationError

from roadwork.conformal.base import ConformalPredictor
from roadwork.conformal.lac import SplitConformal
from roadwork.conformal.mondrian import MondrianConformal
from roadwork.conformal.ranks import conformal_rank, coverage_band, minimum_points
from roadwork.errors import DataError

__all__ = [
    "CONFORMAL",
    "ConformalFit",
    "ConformalInfo",
    "ConformalPredictor",
    "MondrianConformal",
    "SplitConformal",
    "conformal_rank",
    "coverage_band",
    "minimum_points",
    "parse_conformal",
]


class ConformalFit(Protocol):
    """How every method is fitted."""

    def __call__(
        self,
        probabilities: ArrayLike,
        labels: ArrayLike,
        alpha: float,
        *,
        groups: ArrayLike | None = None,
    ) -> ConformalPredictor:
        """Fit on probabilities (N, K), labels (N,) and, to be counted, groups (N,)."""
        ...


@dataclass(frozen=True)
class ConformalInfo:
    """One method: ``fit(probabilities, labels, alpha)`` gives an instance of ``model``."""

    name: str
    title: str
    fit: ConformalFit
    model: type[ConformalPredictor]
    reference: str


CONFORMAL: Mapping[str, ConformalInfo] = MappingProxyType(
    {
        info.name: info
        for info in (
            ConformalInfo(
                name="lac",
                title="LAC split conformal (coverage over all classes together)",
                fit=SplitConformal.fit,
                model=SplitConformal,
                reference="Sadinle, Lei, Wasserman, JASA 2019, arXiv 1609.00451",
            ),
            ConformalInfo(
                name="mondrian",
                title="Mondrian LAC (coverage within every class)",
                fit=MondrianConformal.fit,
                model=MondrianConformal,
                reference="Vovk, ACML 2012, arXiv 1209.2673",
            ),
        )
    }
)


def parse_conformal(data: Mapping[str, object]) -> ConformalPredictor:
    """Rebuild a fitted predictor from ``model_dump()`` or from its parsed JSON.

    Raises:
        DataError: the method is unknown, or the fields are not those of the method.
    """
    method = data.get("method")
    info = CONFORMAL.get(method) if isinstance(method, str) else None
    if info is None:
        raise DataError(f"unknown conformal method {method!r}; known are {', '.join(CONFORMAL)}.")
    try:
        return info.model.model_validate(dict(data))
    except ValidationError as error:
        raise DataError(f"the stored {method} predictor is not valid: {error}") from error
