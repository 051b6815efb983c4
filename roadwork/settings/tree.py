"""The strict tree of settings: every key, its type, its default and what it means."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from roadwork.settings.calibrate import CalibrateSettings
from roadwork.settings.cascade import CascadeSettings
from roadwork.settings.compute import ComputeSettings
from roadwork.settings.conformal import ConformalSettings
from roadwork.settings.data import DataSettings, SplitSettings
from roadwork.settings.defer import DeferSettings
from roadwork.settings.finetune import FinetuneSettings
from roadwork.settings.models import BackboneSettings
from roadwork.settings.pretrain import PretrainSettings
from roadwork.settings.promote import PromoteSettings
from roadwork.settings.strict import Strict
from roadwork.settings.track import TrackSettings

__all__ = [
    "CalibrateSettings",
    "ConformalSettings",
    "DeferSettings",
    "DeploySettings",
    "EvaluateSettings",
    "ExportSettings",
    "PromoteSettings",
    "RegisterSettings",
    "Settings",
]

Size = Literal["tiny", "small", "base", "large"]


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
    compute: ComputeSettings = ComputeSettings()
    cascade: CascadeSettings = CascadeSettings()
    calibrate: CalibrateSettings = CalibrateSettings()
    conformal: ConformalSettings = ConformalSettings()
    defer: DeferSettings = DeferSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    export: ExportSettings = ExportSettings()
    track: TrackSettings = TrackSettings()
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
