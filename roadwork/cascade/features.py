"""What both heads of a cascade read, of a whole set, in memory; and its scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from roadwork.cascade.stages import CascadeNetwork
from roadwork.data.loading import ViewReader
from roadwork.models.inference import run_batches

__all__ = ["Scale", "StageFeatures", "stage_features"]

# Features that hardly vary keep their scale: a head on them would be blown up on the way back.
_LEAST_SPREAD = 1e-3


@dataclass(frozen=True, eq=False)
class StageFeatures:
    """Features of N images, float32.

    Attributes:
        first: (N, D) of the global view, for the head of stage 1.
        second: (N, W) of all views, pooled, for that of stage 2.
    """

    first: NDArray[np.float32]
    second: NDArray[np.float32]


def stage_features(network: CascadeNetwork, reader: ViewReader, title: str) -> StageFeatures:
    """Both heads' inputs of every row, in one pass, in evaluation mode.

    Args:
        network: stays as it is.
        reader: of all views.
        title: of the progress line.
    """
    network.eval().to("cuda" if torch.cuda.is_available() else "cpu")
    width = network.first_head.in_features
    found = run_batches(lambda views: torch.cat(network.inputs(views), dim=1), reader, title)
    values = found.astype(np.float32)
    return StageFeatures(values[:, :width], values[:, width:])


@dataclass(frozen=True, eq=False)
class Scale:
    """Mean and standard deviation (D,) of features: heads are trained on standardised ones."""

    mean: NDArray[np.float64]
    spread: NDArray[np.float64]

    @classmethod
    def of(cls, features: NDArray[np.float32]) -> Self:
        """Of the rows of (N, D)."""
        spread = features.std(axis=0, dtype=np.float64)
        return cls(
            features.mean(axis=0, dtype=np.float64), np.where(spread > _LEAST_SPREAD, spread, 1.0)
        )

    def standardised(self, features: NDArray[np.float32]) -> Tensor:
        """(N, D) with mean 0 and deviation 1."""
        return torch.from_numpy(((features - self.mean) / self.spread).astype(np.float32))

    @torch.no_grad()
    def to_standardised(self, head: nn.Linear) -> nn.Linear:
        """A head on standardised features that answers as ``head`` does on raw ones."""
        weight = head.weight.double().cpu()
        moved = weight @ torch.from_numpy(self.mean)
        return _linear(weight * torch.from_numpy(self.spread), head.bias.double().cpu() + moved)

    @torch.no_grad()
    def to_raw(self, head: nn.Linear) -> nn.Linear:
        """Inverse of :meth:`to_standardised`."""
        weight = head.weight.double().cpu() / torch.from_numpy(self.spread)
        return _linear(weight, head.bias.double().cpu() - weight @ torch.from_numpy(self.mean))


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    head = nn.Linear(weight.shape[1], weight.shape[0])
    head.weight.copy_(weight)
    head.bias.copy_(bias)
    return head
