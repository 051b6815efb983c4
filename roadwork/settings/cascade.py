"""Settings of the two-stage cascade."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from roadwork.settings.strict import Share, Strict

__all__ = ["CascadeSettings"]


class CascadeSettings(Strict):
    """Two stages: the global view first, all views only where that is not enough."""

    enabled: bool = False
    objective: Literal["ce", "gatekeeper", "lcron", "two_sided"] = "ce"
    alpha: Share = Field(
        default=0.5, description="gatekeeper: weight of the rows that stage 1 gets right."
    )
    keep: Share = Field(default=0.5, description="lcron: share of a batch that stage 1 passes on.")
    low: Share = Field(default=0.1, description="two_sided: exit of the answer none.")
    high: Share = Field(default=0.9, description="two_sided: exit of the answer roadwork.")
    anchor: float = Field(
        default=0.1,
        ge=0,
        description="lcron, two_sided: weight of the plain cross-entropy of both stages, which "
        "keeps their scores probabilities.",
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"the exits low {self.low} and high {self.high} are not in order")
        return self
