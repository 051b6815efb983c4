"""The strict tree of settings: every key, its type, its default and what it means."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = [
    "BackboneSettings",
    "CalibrateSettings",
    "ConformalSettings",
    "DataSettings",
    "DeploySettings",
    "EvaluateSettings",
    "ExportSettings",
    "FinetuneSettings",
    "ImageFolderSource",
    "PretrainSettings",
    "PromoteSettings",
    "RegisterSettings",
    "Settings",
    "SplitSettings",
    "SyntheticSource",
    "ViewSettings",
]

Auto = Literal["auto"]
Size = Literal["tiny", "small", "base", "large"]
Share = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]


class Strict(BaseModel):
    """Base of every settings class: frozen, no unknown keys, defaults checked too."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class SyntheticSource(Strict):
    """Generated street scenes: the default source, which needs nothing from outside."""

    kind: Literal["synthetic"] = "synthetic"
    drives: Count = Field(
        default=170, description="Drives; a drive is a group of frames of one street."
    )
    min_frames: Count = Field(default=4, description="Fewest frames of a drive.")
    max_frames: Count = Field(default=7, description="Most frames of a drive.")
    label_noise: float = Field(
        default=0.0, ge=0, le=0.2, description="Share of labels flipped on purpose."
    )
    faults: bool = Field(
        default=True, description="Plant unreadable files and duplicates on purpose."
    )

    @model_validator(mode="after")
    def _frames_in_order(self) -> SyntheticSource:
        if self.min_frames > self.max_frames:
            raise ValueError("min_frames is larger than max_frames: exchange the two")
        return self


class ImageFolderSource(Strict):
    """A folder of images with a CSV of labels and groups, or with one sub-folder per class."""

    kind: Literal["image_folder"] = "image_folder"
    root: Path | None = Field(
        default=None, description="The folder; when null, ROADWORK_DATA names it."
    )
    csv: str | None = Field(
        default="manifest.csv", description="CSV in the folder; null: class folders."
    )
    file_column: str = "file"
    label_column: str = "label"
    group_column: str = "group_id"
    source_column: str | None = None


class DataSettings(Strict):
    """Where the images come from and how many broken ones are tolerated."""

    source: Annotated[SyntheticSource | ImageFolderSource, Field(discriminator="kind")] = (
        SyntheticSource()
    )
    max_quarantine_share: float = Field(
        default=0.05, ge=0, le=1, description="More unreadable images than this share stop the run."
    )
    max_megapixels: float = Field(default=50.0, gt=0, description="Larger images go to quarantine.")
    near_duplicate_distance: int = Field(
        default=4,
        ge=0,
        le=15,
        description="Largest Hamming distance of two 64-bit perceptual hashes.",
    )
    workers: int = Field(default=2, ge=0, description="Threads that decode and hash images.")


class SplitSettings(Strict):
    """Shares of the groups that each role receives; training takes the rest."""

    select: Share = 0.10
    calibrate: Share = 0.10
    conformal: Share = 0.20
    test: Share = 0.20

    @model_validator(mode="after")
    def _leaves_training(self) -> SplitSettings:
        held_out = self.select + self.calibrate + self.conformal + self.test
        if held_out > 0.9:
            raise ValueError(
                f"select + calibrate + conformal + test = {held_out:.2f} leaves less than 0.10 of "
                "the groups for training: lower one of them"
            )
        return self


class ViewSettings(Strict):
    """One global view and a grid of overlapping tiles, pooled over the tiles."""

    tiles: Literal[0, 9] = Field(
        default=9, description="0: global view alone; 9: a grid of 3 x 3 tiles."
    )
    aggregator: Literal["max", "mean", "topk_mean"] = "max"
    top_k: Literal[2, 3, 5] = Field(default=3, description="Tiles that topk_mean averages.")


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


class FinetuneSettings(Strict):
    """Supervised training: a probe on frozen features first, then adapters from there."""

    adapter: Literal["auto", "lora", "full", "none"] = Field(
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
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    precision: Literal["auto", "32", "bf16"] = "auto"
    checkpoint_every: Count = Field(
        default=25, description="Training steps between two checkpoints."
    )


class CalibrateSettings(Strict):
    """Which map turns logits into probabilities."""

    method: Literal["temperature", "identity"] = "temperature"


class ConformalSettings(Strict):
    """The guarantee of the prediction sets."""

    method: Literal["mondrian", "lac"] = "mondrian"
    alpha: float = Field(default=0.1, gt=0, lt=0.5, description="Allowed share of missed labels.")


class EvaluateSettings(Strict):
    """How uncertain the figures of the report are said to be."""

    bootstrap: Annotated[int, Field(ge=100)] = 2000
    slices: tuple[str, ...] = ("source", "time_of_day", "weather", "environment", "city")
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
