"""Conformal prediction: sets of labels that contain the true one as often as promised.

``CONFORMAL`` lists the methods; ``parse_conformal`` reads a fitted one back from its JSON form.
Applying a predictor needs numpy and pydantic only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from numpy.typing import ArrayLike
from pydantic import ValidationError

from roadwork.conformal.base import ConformalPredictor, Promise
from roadwork.conformal.crcp import CrcpConformal
from roadwork.conformal.methods import (
    Points,
    fit_crcp,
    fit_mondrian,
    fit_rc3p,
    fit_scrc,
    fit_slices,
    fit_split,
)
from roadwork.conformal.mondrian import MondrianConformal
from roadwork.conformal.ranks import conformal_rank, coverage_band, minimum_points
from roadwork.conformal.rc3p import Rc3pConformal
from roadwork.conformal.rows import Rows, content_id
from roadwork.conformal.scores import SCORES, Score
from roadwork.conformal.scrc import ScrcConformal
from roadwork.conformal.slices import SliceConformal
from roadwork.conformal.split import SplitConformal
from roadwork.errors import DataError
from roadwork.settings.conformal import ConformalSettings

__all__ = [
    "CONFORMAL",
    "SCORES",
    "ConformalInfo",
    "ConformalPredictor",
    "CrcpConformal",
    "MondrianConformal",
    "Points",
    "Promise",
    "Rc3pConformal",
    "Rows",
    "Score",
    "ScrcConformal",
    "SliceConformal",
    "SplitConformal",
    "conformal_rank",
    "content_id",
    "coverage_band",
    "fit_predictor",
    "minimum_points",
    "parse_conformal",
]


@dataclass(frozen=True)
class ConformalInfo:
    """One method: ``fit(settings, points, seed)`` gives an instance of ``model``."""

    name: str
    title: str
    fit: Callable[[ConformalSettings, Points, int], ConformalPredictor]
    model: type[ConformalPredictor]
    reference: str


CONFORMAL: Mapping[str, ConformalInfo] = MappingProxyType(
    {
        info.name: info
        for info in (
            *(
                ConformalInfo(
                    name=name,
                    title=f"{SCORES[name].title} (coverage over all classes together)",
                    fit=fit_split,
                    model=SplitConformal,
                    reference=SCORES[name].reference,
                )
                for name in SCORES
            ),
            ConformalInfo(
                name="mondrian",
                title="Mondrian LAC (coverage within every class)",
                fit=fit_mondrian,
                model=MondrianConformal,
                reference="Vovk, ACML 2012, arXiv 1209.2673",
            ),
            ConformalInfo(
                name="mondrian_slice",
                title="Mondrian by slice (coverage within every slice)",
                fit=fit_slices,
                model=SliceConformal,
                reference="Vovk, ACML 2012, arXiv 1209.2673",
            ),
            ConformalInfo(
                name="rc3p",
                title="RC3P (coverage within every class, cut off by rank)",
                fit=fit_rc3p,
                model=Rc3pConformal,
                reference="Shi et al., NeurIPS 2024, arXiv 2406.06818",
            ),
            ConformalInfo(
                name="scrc",
                title="SCRC, selective conformal risk control (coverage among the confident)",
                fit=fit_scrc,
                model=ScrcConformal,
                reference="Xu, Guo, Wei, arXiv 2512.12844",
            ),
            ConformalInfo(
                name="crcp",
                title="CRCP, contamination-robust (coverage of true labels under known noise)",
                fit=fit_crcp,
                model=CrcpConformal,
                reference="Clarkson et al., arXiv 2407.07700",
            ),
        )
    }
)


def fit_predictor(
    asked: ConformalSettings,
    probabilities: ArrayLike,
    labels: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    rows: Rows | None = None,
    seed: int = 0,
) -> ConformalPredictor:
    """Fit the method that was asked for.

    Args:
        asked: method, alpha, and what the method uses.
        probabilities: (N, K) calibrated probabilities, of points that neither the model nor the
            calibrator was fitted on.
        labels: (N,) classes.
        groups: (N,) group of every point.
        rows: ids of the points, and their slices.
        seed: of lots and of randomised scores.

    Raises:
        DataError: the arrays break the contract.
        ConfigError: the method needs what is not given here.
    """
    points = Points(probabilities, labels, groups, rows)
    return CONFORMAL[asked.method].fit(asked, points, seed)


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
