"""Step: when may stage 1 answer? Calibrators of both stages, and exits with a promise."""

from __future__ import annotations

from typing import Annotated

from zenml import step

import materializers  # noqa: F401
from roadwork.cascade.certified import CertifiedCascade, certify
from roadwork.cascade.stages import Cascade
from roadwork.data.manifest import CalibrationSet, ConformalSet
from roadwork.settings import Settings
from steps.caching import library_cache


@step(cache_policy=library_cache("roadwork.cascade.certified"))
def exits(
    cascade: Cascade,
    calibration: CalibrationSet,
    conformal_set: ConformalSet,
    settings: Settings,
) -> Annotated[CertifiedCascade, "certified_cascade"]:
    """Each on data that nothing beneath has seen."""
    return certify(cascade, calibration, conformal_set, settings)
