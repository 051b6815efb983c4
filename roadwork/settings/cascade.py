"""Settings of the two-stage cascade."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from roadwork.settings.strict import Count, Share, Strict

__all__ = ["CascadeSettings"]


class CascadeSettings(Strict):
    """Two stages: the global view first, all views only where that is not enough."""

    enabled: bool = False
    trains: Literal["first", "heads"] = Field(
        default="first",
        description="first: the head of stage 1 alone, so that stage 2 stays the classifier, with "
        "its calibration; heads: those of both stages, and stage 2 becomes another model.",
    )
    objective: Literal["ce", "gatekeeper", "lcron", "two_sided"] = "ce"
    held_back: float = Field(
        default=0.33,
        ge=0,
        le=0.5,
        description="Share of the training images, in whole groups, that the start of stage 1 does "
        "not see, so that the objective meets errors. ce: not used.",
    )
    epochs: int = Field(default=20, ge=0, le=1000, description="Passes by the objective.")
    batch_size: Count = Field(default=128, description="The list that lcron sorts, too.")
    learning_rate: float = Field(
        default=3e-4, gt=0, lt=1, description="Of AdamW, on standardised features."
    )
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
        "keeps their scores probabilities. two_sided: above 0.",
    )
    max_accuracy_loss: Share = Field(
        default=0.005,
        description="Promise: share of all images that exits make wrong and stage 2 had right.",
    )
    max_recall_loss: Share | None = Field(
        default=0.01, description="The same among images of roadwork; null promises nothing there."
    )
    max_wrong: Share | None = Field(
        default=None,
        description="Promise: share of all images that are passed on and answered wrongly; less "
        "sure ones go to a person. null: every answer of stage 2 stands.",
    )
    delta: Share = Field(
        default=0.1, description="Probability that the draw of the conformal set breaks a promise."
    )
    path: Literal["two_sided", "none_only", "roadwork_only"] = Field(
        default="two_sided", description="Which answers stage 1 may give."
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"the exits low {self.low} and high {self.high} are not in order")
        if self.objective == "two_sided" and not self.anchor:
            raise ValueError(
                "two_sided needs an anchor above 0: without it a first stage that is sure and "
                "wrong has almost no gradient"
            )
        return self

    @property
    def training(self) -> CascadeSettings:
        """These settings with the promise put back to its default: all that training looks at."""
        promise = {"max_accuracy_loss", "max_recall_loss", "max_wrong", "delta", "path"}
        return CascadeSettings.model_validate(self.model_dump(exclude=promise))
