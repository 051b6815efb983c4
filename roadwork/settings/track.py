"""Settings of what is told about a run, and to whom."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from roadwork.settings.strict import Strict

__all__ = ["TrackSettings"]


class TrackSettings(Strict):
    """MLflow keeps the record of every run (``register``); Weights & Biases may have a copy."""

    wandb: Literal["auto", "off", "offline", "online"] = Field(
        default="auto",
        description="Copy for Weights & Biases. auto: as WANDB_MODE says, else online with "
        "WANDB_API_KEY in the environment and off without; offline writes into the runs folder.",
    )
    project: str = Field(
        default="roadwork",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        description="Of Weights & Biases.",
    )

    @field_validator("wandb", mode="before")
    @classmethod
    def _off_is_a_word(cls, value: object) -> object:
        """YAML 1.1 reads a bare ``off`` as false."""
        return "off" if value is False else value
