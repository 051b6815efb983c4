"""The two stages of one network: a glance at the whole picture, and a look at all its views.

Stage 1 is the global view alone, through the backbone that stage 2 uses too and a linear head of
its own. Stage 2 is the classifier. So the glance is never wasted: its features are the first of
those that stage 2 needs, in training (one pass gives both answers) as in serving (a photograph
that is passed on costs its tiles, not its global view again).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from pydantic import BaseModel, ConfigDict
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from roadwork.data.exposure import Exposure
from roadwork.data.views import view_count
from roadwork.errors import ConfigError
from roadwork.models.aggregators import aggregate
from roadwork.models.backbone import contiguous, state_hash
from roadwork.models.classifier import (
    Classifier,
    ClassifierSpec,
    RoadworkNetwork,
    build_classifier_network,
)

__all__ = ["Cascade", "CascadeNetwork", "CascadeSpec", "Glance"]


@dataclass(frozen=True)
class Glance:
    """What stage 1 saw of N photographs.

    Attributes:
        logits: (N, K).
        features: (R, N, D) of the global view; R is 2 with ``views.flip``, else 1.
    """

    logits: Tensor
    features: Tensor

    def take(self, rows: Tensor) -> Glance:
        """Of some photographs: indices, or a mask (N,)."""
        return Glance(self.logits[rows], self.features[:, rows])


class CascadeNetwork(nn.Module):
    """Both stages around one classifier network, whose backbone they share."""

    def __init__(self, network: RoadworkNetwork) -> None:
        """Add a first head of zeros.

        Raises:
            ConfigError: the network has no tiles, so that both stages would see the same.
        """
        super().__init__()
        if network.views.tiles == 0:
            raise ConfigError(
                "backbone.views.tiles is 0: both stages of a cascade would see the global view "
                "alone. Use tiles, or no cascade."
            )
        self.network = network
        features = network.reads.width * int(network.backbone.num_features)  # pyright: ignore
        self.first_head = nn.Linear(features, network.head.out_features)
        nn.init.zeros_(self.first_head.weight)
        nn.init.zeros_(self.first_head.bias)

    def forward(self, views: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N, K) of stage 1 and of stage 2, for uint8 views (N, 1 + T, S, S, 3).

        Every view passes the backbone once.
        """
        features = self._view_features(views)
        return self._first(features[:, :, 0]), self._second(features)

    def first(self, views: Tensor) -> Glance:
        """Stage 1 alone, for global views (N, 1, S, S, 3)."""
        features = self._view_features(views)[:, :, 0]
        return Glance(self._first(features), features)

    def second(self, glance: Glance, tiles: Tensor) -> Tensor:
        """Stage 2's logits (N, K) from a glance and the tiles (N, T, S, S, 3) of the same N."""
        looked = self._view_features(tiles)
        return self._second(torch.cat([glance.features[:, :, None], looked], dim=2))

    def _view_features(self, views: Tensor) -> Tensor:
        """(R, N, V, D) of uint8 views (N, V, S, S, 3); R is 2 with ``views.flip``, else 1."""
        pixels = self.network.pixels(views)
        flip = self.network.views.flip
        sides = torch.cat([pixels, pixels.flip(3)]) if flip else pixels
        features = self.network.view_features(sides, views.shape[1])
        return features.unflatten(0, (2 if flip else 1, -1))

    def _first(self, features: Tensor) -> Tensor:
        return self.first_head(features.mean(dim=0))

    def _second(self, features: Tensor) -> Tensor:
        pooled = aggregate(features.flatten(0, 1), self.network.aggregator)
        return self.network.head(pooled.unflatten(0, features.shape[:2]).mean(dim=0))


class CascadeSpec(BaseModel):
    """Everything needed to build the cascade again.

    Attributes:
        title: for people.
        classifier: of stage 2.
        objective: key of ``CASCADE_OBJECTIVES`` that trained both stages last.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    classifier: ClassifierSpec
    objective: str

    @property
    def stage_views(self) -> tuple[int, int]:
        """Views of a photograph that stage 1 answers, and of one that stage 2 answers."""
        return 1, view_count(self.classifier.views.tiles)


@dataclass(frozen=True)
class Cascade:
    """A fitted cascade and its exposure."""

    spec: CascadeSpec
    network: CascadeNetwork
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

    @property
    def classifier(self) -> Classifier:
        """Stage 2 alone, for whoever knows classifiers; the weights are shared, not copied."""
        return Classifier(self.spec.classifier, self.network.network, self.exposure)

    def save(self, folder: Path) -> None:
        """Write ``cascade.json``, ``cascade.safetensors`` and ``exposure.bin``."""
        (folder / "cascade.json").write_text(self.spec.model_dump_json(indent=2))
        save_file(contiguous(self.network.state_dict()), folder / "cascade.safetensors")
        (folder / "exposure.bin").write_bytes(self.exposure.to_bytes())

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what :meth:`save` wrote."""
        spec = CascadeSpec.model_validate_json((folder / "cascade.json").read_text())
        network = CascadeNetwork(build_classifier_network(spec.classifier))
        network.load_state_dict(load_file(folder / "cascade.safetensors"), strict=True)
        exposure = Exposure.from_bytes((folder / "exposure.bin").read_bytes())
        return cls(spec, network.eval(), exposure)
