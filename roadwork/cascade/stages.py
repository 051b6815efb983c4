"""The two stages of one network: a glance at the whole picture, and a look at all its views.

Stage 1 is the global view alone, through the backbone that stage 2 uses too and a linear head of
its own. Stage 2 is the classifier. So the glance is never wasted: its features are the first of
those that stage 2 needs, in training (one pass gives both answers) as in serving (a photograph
that is passed on costs its tiles, not its global view again).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import torch
from pydantic import BaseModel, ConfigDict
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from roadwork.data.exposure import Exposure
from roadwork.data.views import view_count
from roadwork.errors import ConfigError
from roadwork.models.aggregators import aggregate
from roadwork.models.backbone import contiguous
from roadwork.models.classifier import (
    ClassifierSpec,
    RoadworkNetwork,
    build_classifier_network,
    fitted_hash,
)
from roadwork.settings import ViewSettings

__all__ = ["Cascade", "CascadeNetwork", "CascadeSpec", "Glance", "require_tiles"]


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


def require_tiles(views: ViewSettings) -> None:
    """Refuse a cascade whose stages would see the same.

    Raises:
        ConfigError: there are no tiles.
    """
    if views.tiles == 0:
        raise ConfigError(
            "backbone.views.tiles is 0: both stages of a cascade would see the global view alone. "
            "Use tiles, or no cascade."
        )


class CascadeNetwork(nn.Module):
    """Both stages around one classifier network, whose backbone they share."""

    def __init__(self, network: RoadworkNetwork) -> None:
        """Add a first head of zeros.

        Raises:
            ConfigError: the network has no tiles, so that both stages would see the same.
        """
        super().__init__()
        require_tiles(network.views)
        self.network = network
        features = network.reads.width * int(network.backbone.num_features)  # pyright: ignore
        self.first_head = nn.Linear(features, network.head.out_features)
        nn.init.zeros_(self.first_head.weight)
        nn.init.zeros_(self.first_head.bias)

    def forward(self, views: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N, K) of stage 1 and of stage 2, for uint8 views (N, 1 + T, S, S, 3).

        Every view passes the backbone once.
        """
        first, second = self.inputs(views)
        return self.first_head(first), self.network.head(second)

    def inputs(self, views: Tensor) -> tuple[Tensor, Tensor]:
        """What the two heads read, (N, D) and (N, W), for uint8 views (N, 1 + T, S, S, 3).

        With ``views.flip`` the mean of both sides, which is that of the logits behind a linear
        head.
        """
        features = self._view_features(views)
        return features[:, :, 0].mean(dim=0), self._pooled(features)

    def first(self, views: Tensor) -> Glance:
        """Stage 1 alone, for global views (N, 1, S, S, 3)."""
        features = self._view_features(views)[:, :, 0]
        return Glance(self.first_head(features.mean(dim=0)), features)

    def second(self, glance: Glance, tiles: Tensor) -> Tensor:
        """Stage 2's logits (N, K) from a glance and the tiles (N, T, S, S, 3) of the same N."""
        looked = self._view_features(tiles)
        features = torch.cat([glance.features[:, :, None], looked], dim=2)
        return self.network.head(self._pooled(features))

    def _pooled(self, features: Tensor) -> Tensor:
        """(N, W) of the features (R, N, V, D) of all views."""
        pooled = aggregate(features.flatten(0, 1), self.network.aggregator)
        return pooled.unflatten(0, features.shape[:2]).mean(dim=0)

    def _view_features(self, views: Tensor) -> Tensor:
        """(R, N, V, D) of uint8 views (N, V, S, S, 3); R is 2 with ``views.flip``, else 1."""
        pixels = self.network.pixels(views)
        flip = self.network.views.flip
        sides = torch.cat([pixels, pixels.flip(3)]) if flip else pixels
        features = self.network.view_features(sides, views.shape[1])
        return features.unflatten(0, (2 if flip else 1, -1))


class CascadeSpec(BaseModel):
    """Everything needed to build the cascade again.

    Attributes:
        title: for people.
        classifier: of stage 2.
        objective: key of ``CASCADE_OBJECTIVES`` that trained the heads last.
        trains: which heads were trained; after ``first``, stage 2 is the classifier as it was.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    classifier: ClassifierSpec
    objective: str
    trains: Literal["first", "heads"]

    @property
    def stage_views(self) -> tuple[int, int]:
        """Views of a photograph that stage 1 answers, and of one that stage 2 answers.

        With ``views.flip`` a view and its mirror image are two.
        """
        views = self.classifier.views
        sides = 2 if views.flip else 1
        return sides, sides * view_count(views.tiles)


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
        return fitted_hash(self.spec, self.network, self.exposure)

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
