"""Aggregators: features of one global view and its tiles become one vector per photograph.

The whole picture and the tiles are kept apart, because they show things at different sizes: the
result is the global feature beside the pooled tile features.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from roadwork.settings import ViewSettings

__all__ = [
    "AGGREGATORS",
    "Aggregator",
    "AggregatorInfo",
    "GatedAttention",
    "aggregate",
    "aggregate_width",
    "build_aggregator",
]

_HIDDEN = 128


class Aggregator(nn.Module, ABC):
    """Pools features of tiles (N, T, D) to (N, D)."""

    @abstractmethod
    def forward(self, tiles: Tensor) -> Tensor:
        """Pooled features (N, D)."""

    @abstractmethod
    def tile_weights(self, tiles: Tensor) -> Tensor:
        """Share of each tile in the pooled features, (N, T); rows sum to 1."""


class _Max(Aggregator):
    def forward(self, tiles: Tensor) -> Tensor:
        return tiles.amax(dim=1)

    def tile_weights(self, tiles: Tensor) -> Tensor:
        """Of D maxima the share that each tile supplies; of equals the first counts."""
        return _shares(tiles.argmax(dim=1, keepdim=True), tiles.shape[1])


class _Mean(Aggregator):
    def forward(self, tiles: Tensor) -> Tensor:
        return tiles.mean(dim=1)

    def tile_weights(self, tiles: Tensor) -> Tensor:
        """The same for every tile."""
        return tiles.new_full(tiles.shape[:2], 1.0 / tiles.shape[1])


class _TopMean(Aggregator):
    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = k

    def forward(self, tiles: Tensor) -> Tensor:
        return tiles.topk(self.k, dim=1).values.mean(dim=1)

    def tile_weights(self, tiles: Tensor) -> Tensor:
        """Of the k D averaged values the share that each tile supplies."""
        return _shares(tiles.topk(self.k, dim=1).indices, tiles.shape[1])


class GatedAttention(Aggregator):
    """Gated attention pooling over the tiles.

    Ilse, Tomczak & Welling, "Attention-based Deep Multiple Instance Learning", ICML 2018
    (1802.04712), equation 9: ``a = softmax_t(w^T (tanh(V h_t) * sigmoid(U h_t)))``, and the pooled
    feature is ``sum_t a_t h_t``. ``w`` starts at zero, so that the start is the mean; V and U start
    random and receive gradients from the second step on. Their start depends on nothing outside.
    """

    def __init__(self, features: int) -> None:
        """For features of length D."""
        super().__init__()
        self.value = nn.Linear(features, _HIDDEN, bias=False)
        self.gate = nn.Linear(features, _HIDDEN, bias=False)
        self.score = nn.Linear(_HIDDEN, 1, bias=False)
        generator = torch.Generator().manual_seed(0)
        for layer in (self.value, self.gate):
            nn.init.normal_(layer.weight, std=features**-0.5, generator=generator)
        nn.init.zeros_(self.score.weight)

    def forward(self, tiles: Tensor) -> Tensor:
        """Pooled features (N, D): the tiles weighted by their attention."""
        return (self.tile_weights(tiles)[:, :, None] * tiles).sum(dim=1)

    def tile_weights(self, tiles: Tensor) -> Tensor:
        """Attention (N, T)."""
        hidden = torch.tanh(self.value(tiles)) * torch.sigmoid(self.gate(tiles))
        return self.score(hidden).squeeze(-1).softmax(dim=1)


def _shares(winners: Tensor, tiles: int) -> Tensor:
    """How often each of T tiles is among the indices (N, K, D), as shares (N, T)."""
    return nn.functional.one_hot(winners.flatten(1), tiles).float().mean(dim=1)


@dataclass(frozen=True)
class AggregatorInfo:
    """One entry of the registry.

    Attributes:
        title: for people.
        build: the module, given the length of the features and the settings of the views.
    """

    title: str
    build: Callable[[int, ViewSettings], Aggregator]


AGGREGATORS: Mapping[str, AggregatorInfo] = {
    "max": AggregatorInfo("largest value over the tiles", lambda features, views: _Max()),
    "mean": AggregatorInfo("mean over the tiles", lambda features, views: _Mean()),
    "topk_mean": AggregatorInfo(
        "mean of the k largest values over the tiles", lambda features, views: _TopMean(views.top_k)
    ),
    "attention": AggregatorInfo(
        "mean over the tiles with learned weights", lambda features, views: GatedAttention(features)
    ),
}


def aggregate_width(features: int, views: ViewSettings) -> int:
    """Length of a photograph's vector, for features of length D: D without tiles, else 2 D."""
    return features if views.tiles == 0 else 2 * features


def build_aggregator(features: int, views: ViewSettings) -> Aggregator | None:
    """What pools the tiles; None without tiles."""
    return None if views.tiles == 0 else AGGREGATORS[views.aggregator].build(features, views)


def aggregate(features: Tensor, aggregator: Aggregator | None) -> Tensor:
    """Features (N, 1 + T, D) to (N, D) without an aggregator, to (N, 2 D) with one."""
    if aggregator is None:
        return features[:, 0]
    return torch.cat([features[:, 0], aggregator(features[:, 1:])], dim=1)
