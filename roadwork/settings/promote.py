"""Settings of the promotion gate."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from roadwork.settings.strict import Strict

__all__ = ["Figure", "PromoteSettings"]

Figure = Literal[
    "mcc", "auroc", "auprc", "accuracy", "balanced_accuracy", "f1", "nll", "brier", "ece_positive"
]
"""Figures in which a candidate and the champion can be compared."""

Margin = Annotated[float, Field(ge=0)]
Bar = Annotated[float, Field(gt=0)]


class PromoteSettings(Strict):
    """What the gate asks of a candidate."""

    confidence: float = Field(
        default=0.95,
        gt=0.5,
        lt=1,
        description="Coverage fails when so few hits are less probable than 1 less this.",
    )
    min_auroc: float = Field(
        default=0.5, ge=0.5, lt=1, description="The interval's lower end must pass."
    )
    max_ece: float | None = Field(
        default=0.15,
        gt=0,
        le=1,
        description="Largest calibration error of P(roadwork) in bins; null: no bar.",
    )
    better: Figure = Field(
        default="mcc", description="In what the candidate must be better than the champion."
    )
    not_worse: dict[Figure, Margin] = Field(
        default={}, description="Further figures, each with the loss to the champion it may have."
    )
    level: float = Field(
        default=0.05,
        gt=0,
        le=0.5,
        description="How often a candidate that is not better may be promoted.",
    )
    spending: Literal["test_set", "candidate"] = Field(
        default="test_set",
        description="What the level is for: all comparisons on a test set together, or each.",
    )
    slices: tuple[str, ...] = Field(
        default=("source", "time_of_day", "weather", "environment", "city", "works_size"),
        description="Columns in whose slices the candidate must not be worse than the champion.",
    )
    slice_figure: Literal["balanced_accuracy", "accuracy", "auroc", "nll", "brier"] = Field(
        default="balanced_accuracy", description="In what slices are compared."
    )
    slice_loss: float = Field(
        default=0.0, ge=0, description="Proven loss of `slice_figure` that a slice may have."
    )
    max_megabytes: Bar | None = Field(default=None, description="Largest bundle; null: no budget.")
    max_latency_ms: Bar | None = Field(
        default=None,
        description="Largest median time of an answer, measured on the machine that judges; "
        "null: not measured.",
    )

    @model_validator(mode="after")
    def _one_demand_a_figure(self) -> Self:
        if self.better in self.not_worse:
            raise ValueError(
                f"{self.better} must be better, so it cannot also be allowed to be worse: take it "
                "out of promote.not_worse, or name another figure in promote.better"
            )
        return self
