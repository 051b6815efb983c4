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
from roadwork.errors import ConfigError
from roadwork.models.aggregators import aggregate, aggregate_width, build_aggregator
from roadwork.models.backbone import (
    BACKBONES,
    Backbone,
    build_network,
    contiguous,
    state_hash,
)
from roadwork.models.heads import HEADS
from roadwork.settings import ViewSettings
from roadwork.settings.models import Head

__all__ = ["Classifier", "ClassifierSpec", "RoadworkNetwork", "fitted_hash"]


class ClassifierSpec(BaseModel):
    """Everything needed to build the network again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    classes: tuple[str, ...] = CLASSES
    backbone: str
    image_size: int
    head: Head = "cls"
    views: ViewSettings
    adapter: str
    origin: str


class RoadworkNetwork(nn.Module):
    """uint8 views (N, V, S, S, 3) to logits (N, K); normalisation is inside."""

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        spec_backbone: str,
        views: ViewSettings,
        classes: int,
        head: str = "cls",
    ) -> None:
        """Put a linear layer on a backbone that was built for this head."""
        super().__init__()
        info = BACKBONES[spec_backbone]
        self.backbone = backbone
        self.views = views
        self.reads = HEADS[head]
        features = self.reads.width * int(backbone.num_features)  # pyright: ignore
        self.aggregator = build_aggregator(features, views)
        self.head = nn.Linear(aggregate_width(features, views), classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        for name, values in (("mean", info.mean), ("std", info.std)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def pixels(self, views: Tensor) -> Tensor:
        """uint8 views (N, V, S, S, 3) to RGB in [0, 1], (N V, 3, S, S).

        In memory the channels stay innermost, the layout in which convolutions are fastest.
        """
        return views.flatten(0, 1).permute(0, 3, 1, 2).float() / 255.0

    def view_features(self, pixels: Tensor, count: int) -> Tensor:
        """RGB in [0, 1], (N V, 3, S, S), to the features of each view, (N, V, D)."""
        given = self.backbone((pixels - self.mean) / self.std)
        prefix = int(getattr(self.backbone, "num_prefix_tokens", 0))
        return self.reads.read(given, prefix).unflatten(0, (-1, count))

    def features_of(self, pixels: Tensor, count: int) -> Tensor:
        """RGB in [0, 1], (N V, 3, S, S), to the aggregated features (N, W)."""
        return aggregate(self.view_features(pixels, count), self.aggregator)

    def features(self, views: Tensor) -> Tensor:
        """Aggregated features (N, W) of uint8 views; with ``views.flip`` the mean of both sides.

        The linear layer behind them makes the mean of the features that of the logits, too.
        """
        features = self.features_of(self._sides(views), views.shape[1])
        return features.unflatten(0, (2, -1)).mean(dim=0) if self.views.flip else features

    def forward(self, views: Tensor) -> Tensor:
        """Logits (N, K) of uint8 views (N, V, S, S, 3)."""
        return self.head(self.features(views))

    def tile_weights(self, views: Tensor) -> Tensor:
        """Share of each tile in the pooled features of uint8 views, (N, T); rows sum to 1.

        Of ``attention`` the learned weights; of ``max`` the share of the maxima that a tile
        supplies. With ``views.flip`` the mean of both sides.

        Raises:
            ConfigError: there are no tiles.
        """
        if self.aggregator is None:
            raise ConfigError("backbone.views.tiles is 0: there are no tiles to weigh")
        features = self.view_features(self._sides(views), views.shape[1])
        weights = self.aggregator.tile_weights(features[:, 1:])
        return weights.unflatten(0, (2, -1)).mean(dim=0) if self.views.flip else weights

    def _sides(self, views: Tensor) -> Tensor:
        """Pixels of the views; with ``views.flip`` followed by those of the mirrored views."""
        pixels = self.pixels(views)
        return torch.cat([pixels, pixels.flip(3)]) if self.views.flip else pixels


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
        return fitted_hash(self.spec, self.network, self.exposure)

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


def fitted_hash(spec: BaseModel, network: nn.Module, exposure: Exposure) -> str:
    """SHA-256 of a fitted model: of its form, its weights, and what touched them."""
    digest = hashlib.sha256(spec.model_dump_json().encode())
    digest.update(state_hash(network.state_dict()).encode())
    digest.update(exposure.to_bytes())
    return digest.hexdigest()


def build_classifier_network(spec: ClassifierSpec) -> RoadworkNetwork:
    """The network of a specification, weights not yet loaded."""
    backbone = build_network(spec.backbone, spec.image_size, head=spec.head)
    return RoadworkNetwork(backbone, spec.backbone, spec.views, len(spec.classes), spec.head)


def attach_head(backbone: Backbone, views: ViewSettings, head: str = "cls") -> RoadworkNetwork:
    """A network on a copy of a backbone's weights, with a linear layer of zeros."""
    network = build_network(backbone.name, backbone.image_size, head=head)
    network.load_state_dict(backbone.network.state_dict(), strict=True)
    return RoadworkNetwork(network, backbone.name, views, len(CLASSES), head)
