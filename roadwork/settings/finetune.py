"""Settings of supervised training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from roadwork.settings.strict import Auto, Count, Strict

__all__ = [
    "DomainSettings",
    "FinetuneSettings",
    "LossSettings",
    "OptimizerSettings",
    "SamplingSettings",
]


class SamplingSettings(Strict):
    """Which training rows a pass draws, and how often."""

    balance: Literal["none", "class", "source", "source_and_class"] = Field(
        default="none", description="What occurs equally often (or by source_shares) in a pass."
    )
    source_shares: Mapping[str, Annotated[float, Field(gt=0)]] = Field(
        default={}, description="Relative shares by source, such as natix: 1, mapillary: 1."
    )
    hard_negatives: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of a pass's negatives drawn from those with the largest last loss.",
    )


class DomainSettings(Strict):
    """Robustness to the source: alignment of domains, or the worst group first. Off by default."""

    method: Literal["none", "dann", "cdann", "group_dro"] = "none"
    weight: float = Field(
        default=0.1, gt=0, le=1, description="Largest weight of the domain loss (dann, cdann)."
    )
    group_step: float = Field(
        default=0.01, gt=0, le=1, description="Step of the group weights (group_dro)."
    )


class LossSettings(Strict):
    """What a wrong answer for one image costs in training."""

    name: Literal["cross_entropy", "focal", "gatekeeper"] = "cross_entropy"
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5, description="Of cross_entropy.")
    gamma: float = Field(default=2.0, ge=0, description="How little easy images count (focal).")
    alpha: float = Field(
        default=0.5, gt=0, lt=1, description="Accuracy against willingness to defer (gatekeeper)."
    )


class OptimizerSettings(Strict):
    """What turns gradients into steps."""

    name: Literal["adamw", "schedule_free", "sam", "ademamix", "sophia"] = "adamw"
    rho: float = Field(
        default=0.05, gt=0, description="Length of the excursion to the worst neighbour (sam)."
    )
    alpha: float = Field(default=5.0, gt=0, description="Weight of the old gradients (ademamix).")
    gamma: float = Field(default=0.05, gt=0, description="Scale of the curvature (sophia).")


class FinetuneSettings(Strict):
    """Supervised training: a probe on frozen features first, then adapters from there."""

    adapter: Literal["auto", "lora", "dora", "doran_tau", "doran_full", "full", "none"] = Field(
        default="auto", description="auto: lora on learned weights, full on random ones."
    )
    epochs: Auto | Annotated[int, Field(ge=0)] = "auto"
    batch_size: Auto | Count = "auto"
    rank: Count = 8
    alpha: Count = 16
    learning_rate: Auto | Annotated[float, Field(gt=0)] = "auto"
    weight_decay: float = Field(default=0.01, ge=0)
    patience: Count = Field(
        default=3, description="Epochs without a better selection loss before a stop."
    )
    loss: LossSettings = LossSettings()
    prior_correction: Literal["none", "source"] = Field(
        default="none",
        description="source: training subtracts each source's own label prior from its logits.",
    )
    optimizer: OptimizerSettings = OptimizerSettings()
    schedule: Literal["cosine", "linear", "constant", "warmup_stable_decay"] = Field(
        default="cosine",
        description="Course of the learning rate after its warm-up over 5 % of the steps; "
        "schedule_free has none and stays constant.",
    )
    layer_decay: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Factor of the learning rate from one layer to the next below; the head "
        "learns at the full rate.",
    )
    ema: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Decay of a moving average of the weights, which is then judged and kept; "
        "0: none.",
    )
    sampling: SamplingSettings = SamplingSettings()
    domain: DomainSettings = DomainSettings()

    @model_validator(mode="after")
    def _schedule_free_is_alone(self) -> Self:
        if self.optimizer.name != "schedule_free":
            return self
        if self.ema:
            raise ValueError(
                "ema does not go with optimizer.name: schedule_free, which averages its weights "
                "already: set ema to 0, or choose another optimizer"
            )
        if self.schedule not in ("cosine", "constant"):
            raise ValueError(
                f"schedule: {self.schedule} does not go with optimizer.name: schedule_free, whose "
                "rate stays after its warm-up: leave schedule out, or choose another optimizer"
            )
        return self
