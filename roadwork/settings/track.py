"""Settings of what is told about a run, and to whom."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from roadwork.settings.strict import Strict

__all__ = ["TrackSettings"]


class TrackSettings(Strict):
    """MLflow keeps the record of every run (``register``); Weights & Biases may have a copy."""

    wandb: Literal["auto", "off", "offline", "online"] = Field(
        default="auto",
        description="auto: online with WANDB_API_KEY in the environment, as WANDB_MODE says, "
        "else off.",
    )
    project: str = Field(default="roadwork", description="Of Weights & Biases.")
