"""Settings of calibration."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from roadwork.settings.strict import Strict

__all__ = ["CalibrateSettings"]


class CalibrateSettings(Strict):
    """Which map turns logits into probabilities."""

    method: Literal[
        "auto",
        "identity",
        "temperature",
        "platt",
        "beta",
        "dirichlet_odir",
        "dirichlet_l2",
        "histogram",
        "isotonic",
    ] = Field(
        default="temperature",
        description="auto: the simplest within one standard error of the least log-loss, by "
        "cross-validation over groups of the calibration set.",
    )
    deployment_prior: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Share of roadwork where the model will serve; null: that of the data.",
    )
