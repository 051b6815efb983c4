"""Settings of ExPLoRA."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from roadwork.settings.strict import Auto, Count, Strict

__all__ = ["PretrainSettings"]


class PretrainSettings(Strict):
    """ExPLoRA: self-supervised adaptation of the backbone to the training images."""

    enabled: bool = True
    epochs: Auto | Annotated[int, Field(ge=0)] = "auto"
    batch_size: Auto | Count = "auto"
    rank: Count = Field(
        default=16, description="LoRA rank on queries and values of the frozen blocks."
    )
    learning_rate: float = Field(default=5e-4, gt=0)
    prototypes: Count = 1024
    momentum: float = Field(
        default=0.99, ge=0, lt=1, description="Of the teacher's moving average."
    )
