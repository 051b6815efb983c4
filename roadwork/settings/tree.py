"""The strict tree of settings: every key, its type, its default and what it means."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from roadwork.settings.data import DataSettings, SplitSettings
from roadwork.settings.models import BackboneSettings
from roadwork.settings.strict import Auto, Count, Strict

__all__ = [
    "CalibrateSettings",
    "ConformalSettings",
    "DeploySettings",
    "DomainSettings",
    "EvaluateSettings",
    "ExportSettings",
    "FinetuneSettings",
    "LossSettings",
    "OptimizerSettings",
    "PretrainSettings",
    "PromoteSettings",
    "RegisterSettings",
    "SamplingSettings",
    "Settings",
]

Size = Literal["tiny", "small", "base", "large"]


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
    sampling: SamplingSettings = SamplingSettings()
    domain: DomainSettings = DomainSettings()
    precision: Literal["auto", "32", "bf16"] = "auto"
    checkpoint_every: Count = Field(
        default=25, description="Training steps between two checkpoints."
    )


class CalibrateSettings(Strict):
    """Which map turns logits into probabilities."""

    method: Literal["temperature", "identity"] = "temperature"
    deployment_prior: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Share of roadwork where the model will serve; null: that of the data.",
    )


class ConformalSettings(Strict):
    """The guarantee of the prediction sets."""

    method: Literal["mondrian", "lac"] = "mondrian"
    alpha: float = Field(default=0.1, gt=0, lt=0.5, description="Allowed share of missed labels.")


class EvaluateSettings(Strict):
    """How uncertain the figures of the report are said to be."""

    bootstrap: Annotated[int, Field(ge=100)] = 2000
    slices: tuple[str, ...] = (
        "source",
        "time_of_day",
        "weather",
        "environment",
        "city",
        "works_size",
    )
    worst: int = Field(default=12, ge=0, le=48, description="Worst errors shown as pictures.")


class ExportSettings(Strict):
    """What an exported engine must prove before a bundle exists."""

    engines: tuple[Literal["onnxruntime", "openvino"], ...] = ("onnxruntime", "openvino")
    golden: Annotated[int, Field(ge=4, le=64)] = 12
    max_probability_difference: float = Field(default=1e-3, gt=0)
    min_cosine: float = Field(default=0.9999, gt=0, le=1)


class RegisterSettings(Strict):
    """Where the model is registered."""

    model_name: str = Field(default="roadwork", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    experiment: str = "roadwork"


class PromoteSettings(Strict):
    """What the gate asks of a candidate."""

    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    min_auroc: float = Field(
        default=0.5, ge=0.5, lt=1, description="The interval's lower end must pass."
    )
    mcc_margin: float = Field(
        default=0.02, ge=0, description="Tolerated loss of MCC to the champion."
    )


class DeploySettings(Strict):
    """Whether the champion is built into a Bento."""

    build: bool = True


class Settings(Strict):
    """The whole tree. Every key has a default: an empty file is the demo."""

    name: str = Field(default="demo", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    size: Size = Field(default="tiny", description="Sets backbone, image size, batch and epochs.")
    seed: int = Field(default=0, ge=0, lt=2**31)
    runs: Path | None = Field(
        default=None, description="Folder of all outputs; null: ROADWORK_RUNS."
    )
    data: DataSettings = DataSettings()
    split: SplitSettings = SplitSettings()
    backbone: BackboneSettings = BackboneSettings()
    pretrain: PretrainSettings = PretrainSettings()
    finetune: FinetuneSettings = FinetuneSettings()
    calibrate: CalibrateSettings = CalibrateSettings()
    conformal: ConformalSettings = ConformalSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    export: ExportSettings = ExportSettings()
    register_: RegisterSettings = Field(default=RegisterSettings(), alias="register")
    promote: PromoteSettings = PromoteSettings()
    deploy: DeploySettings = DeploySettings()

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, serialize_by_alias=True
    )

    def only(self, *parts: str) -> Settings:
        """These settings with every part but the named ones put back to its default.

        A step that is given only what it uses is not run again when another part changes.
        """
        kept = {"size", "seed", "runs", *parts}
        tree = {key: value for key, value in self.model_dump().items() if key in kept}
        return Settings.model_validate(tree)
