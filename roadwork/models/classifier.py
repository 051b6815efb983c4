"""The classifier: views of a photograph to logits, with the record of what it was fitted on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from pydantic import BaseModel, ConfigDict
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from roadwork import CLASSES
from roadwork.data.exposure import Exposure
from roadwork.models.aggregators import aggregate, aggregate_width
from roadwork.models.backbone import (
    BACKBONES,
    Backbone,
    build_network,
    contiguous,
    state_hash,
)
from roadwork.settings import ViewSettings

__all__ = ["Classifier", "ClassifierSpec", "RoadworkNetwork"]


class ClassifierSpec(BaseModel):
    """Everything needed to build the network again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    classes: tuple[str, ...] = CLASSES
    backbone: str
    image_size: int
    views: ViewSettings
    adapter: str
    origin: str


class RoadworkNetwork(nn.Module):
    """uint8 views (N, V, S, S, 3) to logits (N, K); normalisation is inside."""

    mean: Tensor
    std: Tensor

    def __init__(
        self, backbone: nn.Module, spec_backbone: str, views: ViewSettings, classes: int
    ) -> None:
        """Put a linear head on a backbone."""
        super().__init__()
        info = BACKBONES[spec_backbone]
        self.backbone = backbone
        self.views = views
        width = aggregate_width(int(backbone.num_features), views)  # pyright: ignore
        self.head = nn.Linear(width, classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        for name, values in (("mean", info.mean), ("std", info.std)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def pixels(self, views: Tensor) -> Tensor:
        """uint8 views (N, V, S, S, 3) to RGB in [0, 1], (N V, 3, S, S)."""
        return views.flatten(0, 1).permute(0, 3, 1, 2).float() / 255.0

    def features_of(self, pixels: Tensor, count: int) -> Tensor:
        """RGB in [0, 1], (N V, 3, S, S), to the aggregated features (N, W)."""
        features = self.backbone((pixels - self.mean) / self.std)
        return aggregate(features.unflatten(0, (-1, count)), self.views)

    def features(self, views: Tensor) -> Tensor:
        """Aggregated features (N, W) of uint8 views."""
        return self.features_of(self.pixels(views), views.shape[1])

    def forward(self, views: Tensor) -> Tensor:
        """Logits (N, K) of uint8 views (N, V, S, S, 3)."""
        return self.head(self.features(views))


@dataclass(frozen=True)
class Classifier:
    """A fitted network and its exposure."""

    spec: ClassifierSpec
    network: RoadworkNetwork
    exposure: Exposure

    @property
    def title(self) -> str:
        """What error messages and reports call it."""
        return self.spec.title

    @property
    def content_hash(self) -> str:
        """Changes with the weights, the form, or the exposure."""
        digest = hashlib.sha256(self.spec.model_dump_json().encode())
        digest.update(state_hash(self.network.state_dict()).encode())
        digest.update(self.exposure.to_bytes())
        return digest.hexdigest()

    def save(self, folder: Path) -> None:
        """Write ``classifier.json``, ``model.safetensors`` and ``exposure.bin``."""
        (folder / "classifier.json").write_text(self.spec.model_dump_json(indent=2))
        save_file(contiguous(self.network.state_dict()), folder / "model.safetensors")
        (folder / "exposure.bin").write_bytes(self.exposure.to_bytes())

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what :meth:`save` wrote."""
        spec = ClassifierSpec.model_validate_json((folder / "classifier.json").read_text())
        network = build_classifier_network(spec)
        network.load_state_dict(load_file(folder / "model.safetensors"), strict=True)
        exposure = Exposure.from_bytes((folder / "exposure.bin").read_bytes())
        return cls(spec, network.eval(), exposure)


def build_classifier_network(spec: ClassifierSpec) -> RoadworkNetwork:
    """The network of a specification, weights not yet loaded."""
    backbone = build_network(spec.backbone, spec.image_size)
    return RoadworkNetwork(backbone, spec.backbone, spec.views, len(spec.classes))


def attach_head(backbone: Backbone, views: ViewSettings) -> RoadworkNetwork:
    """A network on a copy of a backbone's weights, with a head of zeros."""
    network = build_network(backbone.name, backbone.image_size)
    network.load_state_dict(backbone.network.state_dict(), strict=True)
    return RoadworkNetwork(network, backbone.name, views, len(CLASSES))
