"""Settings of ExPLoRA."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from roadwork.settings.strict import Auto, Count, Strict

__all__ = ["PretrainSettings"]


class PretrainSettings(Strict):
    """ExPLoRA: self-supervised adaptation of the backbone to the training images."""

    enabled: bool = True
    epochs: Auto | Annotated[int, Field(ge=0)] = "auto"
    batch_size: Auto | Count = "auto"
    rank: Count = Field(
        default=64, description="LoRA rank on queries and values of the frozen blocks."
    )
    learning_rate: float = Field(default=5e-4, gt=0)
    optimizer: Literal["adamw", "ademamix"] = "adamw"
    centring: Literal["sinkhorn", "mean"] = Field(
        default="sinkhorn", description="What keeps the teacher from giving one answer to all."
    )
    prototypes: Count = Field(default=4096, description="Of each of the two heads.")
    hidden: Count = Field(default=2048, description="Width of the heads' hidden layers.")
    freeze_prototypes: float = Field(
        default=0.1,
        ge=0,
        lt=1,
        description="Share of all steps, at the start, in which the prototypes stay as they are.",
    )
    momentum: float = Field(
        default=0.99,
        ge=0,
        lt=1,
        description="Of the teacher's moving average at the start; a cosine takes it to 1.",
    )
    local_crops: int = Field(
        default=4, ge=0, le=8, description="Small crops of a picture beside the two large ones."
    )
    mask_probability: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="That patches of a large crop are hidden from the student; 0 leaves out iBOT.",
    )
