"""Settings of the network: its backbone, and the views that it looks at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from roadwork.settings.strict import Strict

__all__ = ["BackboneSettings", "Head", "ViewSettings"]

Head = Literal["cls", "mean", "cls_mean"]


class ViewSettings(Strict):
    """One global view and overlapping tiles, pooled over the tiles."""

    tiles: Literal[0, 9, "aspect"] = Field(
        default="aspect",
        description="0: global view alone; 9: a grid of 3 x 3 tiles; aspect: nine tiles in one, "
        "two or three rows (or columns), as the picture's aspect asks.",
    )
    aggregator: Literal["max", "mean", "topk_mean", "attention"] = "max"
    top_k: Literal[2, 3, 5] = Field(default=3, description="Tiles that topk_mean averages.")
    flip: bool = Field(
        default=False,
        description="Answers are averaged with those of the mirrored views, at twice the cost.",
    )


class BackboneSettings(Strict):
    """The network that turns one view into a feature vector."""

    name: str = Field(
        default="auto", description="auto, tf_efficientnet_lite0 or vit_*_patch16_dinov3."
    )
    weights: Literal["auto", "random", "package", "local", "hub"] = Field(
        default="auto", description="Where the starting weights come from."
    )
    weights_path: Path | None = Field(
        default=None, description="safetensors file, for weights: local."
    )
    weights_sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    image_size: Literal["auto"] | Annotated[int, Field(ge=32, le=1024)] = "auto"
    head: Head = Field(
        default="cls",
        description="What of a vision transformer's tokens describes a view: the class token, the "
        "mean of the patches, or both. Convolutional networks have pooled features: cls alone.",
    )
    views: ViewSettings = ViewSettings()

    @model_validator(mode="after")
    def _weights_are_found(self) -> BackboneSettings:
        if "_qkvb" in self.name:
            raise ValueError(
                f"{self.name} computes its attention past the adapted layer, so adapters would be "
                f"bypassed without a word: use {self.name.replace('_qkvb', '')}"
            )
        if self.weights == "local" and self.weights_path is None:
            raise ValueError("weights: local needs weights_path, a safetensors file")
        return self

    @model_validator(mode="after")
    def _tokens_are_there(self) -> BackboneSettings:
        if self.head != "cls" and self.name != "auto" and not self.name.startswith("vit_"):
            raise ValueError(
                f"head: {self.head} chooses among the tokens of a vision transformer, but "
                f"{self.name} is a convolutional network and gives pooled features: leave head out"
            )
        return self
