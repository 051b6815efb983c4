"""One strict tree of settings, and the size dial that fills in what is left ``auto``.

A run's settings are written once (YAML, or the defaults), resolved once (:func:`resolve`), frozen
and saved with the run. An unknown key, a wrong type or an impossible combination raises
:class:`~roadwork.errors.ConfigError` naming the key and the fix.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from roadwork.environment import Environment
from roadwork.errors import ConfigError

__all__ = [
    "SIZES",
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
    "json_schema",
    "load_settings",
    "parse_settings",
    "resolve",
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


@dataclass(frozen=True)
class SizeInfo:
    """What one position of the size dial stands for."""

    backbone: str
    image_size: int
    pretrain_epochs: int
    pretrain_batch: int
    finetune_epochs: int
    finetune_batch: int
    learning_rate: float


SIZES: Mapping[str, SizeInfo] = {
    "tiny": SizeInfo("tf_efficientnet_lite0", 96, 2, 64, 2, 8, 2e-3),
    "small": SizeInfo("vit_small_patch16_dinov3", 224, 10, 64, 10, 16, 5e-4),
    "base": SizeInfo("vit_base_patch16_dinov3", 224, 20, 128, 10, 32, 3e-4),
    "large": SizeInfo("vit_large_patch16_dinov3", 224, 20, 128, 10, 32, 2e-4),
}


def resolve(settings: Settings, environment: Environment | None = None) -> Settings:
    """Fill every ``auto`` and every path from the environment; the result holds no ``auto``.

    Raises:
        ConfigError: a source without a folder, or a backbone that cannot have these weights.
    """
    environment = environment or Environment()
    size = SIZES[settings.size]
    tree = settings.model_dump()
    if settings.runs is None:
        tree["runs"] = environment.runs
    source = settings.data.source
    if isinstance(source, ImageFolderSource) and source.root is None:
        if environment.data is None:
            raise ConfigError(
                "data.source.root is not set and the environment variable ROADWORK_DATA is empty: "
                "set one of them to the folder that holds the images"
            )
        tree["data"]["source"]["root"] = environment.data
    backbone, pretrain, finetune = tree["backbone"], tree["pretrain"], tree["finetune"]
    chosen = backbone["name"] == "auto"
    backbone["name"] = size.backbone if chosen else backbone["name"]
    convolutional = not backbone["name"].startswith("vit_")
    if backbone["weights"] == "auto":
        # No weights are published for the tiny form of the transformer.
        transformer = "random" if settings.size == "tiny" else "hub"
        backbone["weights"] = "package" if convolutional else transformer
    if backbone["weights"] == "package" and backbone["name"] != "tf_efficientnet_lite0":
        raise ConfigError(
            f"backbone.weights: package exists for tf_efficientnet_lite0 alone, not for "
            f"{backbone['name']}: use local, hub or random"
        )
    if backbone["image_size"] == "auto":
        backbone["image_size"] = size.image_size
    if not convolutional and backbone["image_size"] % 16:
        raise ConfigError(
            f"backbone.image_size {backbone['image_size']} is no multiple of the patch size 16: "
            f"use {backbone['image_size'] // 16 * 16}"
        )
    _fill(pretrain, "epochs", size.pretrain_epochs)
    _fill(pretrain, "batch_size", size.pretrain_batch)
    random = backbone["weights"] == "random"
    _fill(finetune, "adapter", "full" if random else "lora")
    _fill(finetune, "epochs", size.finetune_epochs)
    _fill(finetune, "batch_size", size.finetune_batch)
    _fill(finetune, "learning_rate", size.learning_rate)
    _fill(finetune, "precision", "32")
    return parse_settings(tree)


def _fill(part: dict[str, Any], key: str, value: Any) -> None:
    if part[key] == "auto":
        part[key] = value


def parse_settings(tree: Mapping[str, Any] | None) -> Settings:
    """Check a mapping against the tree.

    Raises:
        ConfigError: one line per fault, each naming the key, what is wrong and what is allowed.
    """
    try:
        return Settings.model_validate(tree or {})
    except ValidationError as error:
        lines = [_explain(fault) for fault in error.errors()]
        raise ConfigError("the settings are not valid:\n  " + "\n  ".join(lines)) from None


def _explain(fault: Any) -> str:
    loc = [str(part) for part in fault["loc"]]
    kinds = {"synthetic", "image_folder"}
    key = ".".join(part for part in loc if part not in kinds and "[" not in part) or "(root)"
    if fault["type"] == "extra_forbidden":
        return f"{key}: there is no such key; known here: {', '.join(_known_keys(loc[:-1]))}"
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "value_error":
        return f"{key}: {message}"
    return f"{key}: {message} (got {fault['input']!r})"


def _known_keys(path: list[str]) -> list[str]:
    """Keys of the settings class at a path of keys and union tags."""
    schema = Settings.model_json_schema()
    node = schema
    for part in path:
        name = {"synthetic": "SyntheticSource", "image_folder": "ImageFolderSource"}.get(part)
        if name is None:
            reference = node.get("properties", {}).get(part, {})
            name = reference.get("$ref", "").rpartition("/")[2]
        node = schema["$defs"].get(name, node)
    return sorted(node.get("properties", {}))


def load_settings(path: Path | None) -> Settings:
    """Read settings from a YAML file; the tree may stand under ``parameters.settings``.

    Raises:
        ConfigError: the file is missing, is no YAML mapping, or fails the check.
    """
    import yaml

    if path is None:
        return Settings()
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the settings file {path}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is no valid YAML: {error}") from None
    if tree is not None and not isinstance(tree, dict):
        raise ConfigError(f"{path} must hold a mapping of keys, not a {type(tree).__name__}")
    if tree and "parameters" in tree:
        tree = (tree["parameters"] or {}).get("settings")
    return parse_settings(tree)


def json_schema() -> dict[str, Any]:
    """JSON Schema of the tree, for editors that complete and check the YAML."""
    return Settings.model_json_schema()
