"""Centring: how a teacher's scores become target distributions that do not collapse.

``mean`` (DINO, Caron et al., 2104.14294) subtracts a running mean of the scores. ``sinkhorn``
(Sinkhorn-Knopp; SwAV, Caron et al., 2006.09882) makes the prototypes share the batch equally, as
DINOv2 and DINOv3 are trained. Both sum over all processes that share a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from roadwork.training.collectives import all_sum

__all__ = ["CENTRINGS", "CentringInfo", "MeanCentring", "SinkhornCentring"]


class MeanCentring(nn.Module):
    """Softmax of scores less their running mean; the mean moves after each batch."""

    centre: Tensor

    def __init__(self, prototypes: int, momentum: float = 0.9) -> None:
        """Start with a centre of zero; ``momentum`` as in DINO."""
        super().__init__()
        self.momentum = momentum
        self.register_buffer("centre", torch.zeros(prototypes))

    @torch.no_grad()
    def forward(self, scores: Tensor, temperature: float) -> Tensor:
        """Distributions (M, P) in float32 of scores (M, P); no gradient."""
        scores = scores.detach().float()
        targets = ((scores - self.centre) / temperature).softmax(dim=-1)
        count = all_sum(scores.new_tensor(float(len(scores))))
        total = all_sum(scores.sum(dim=0))
        moved = self.centre.lerp(total / count.clamp_min(1), 1 - self.momentum)
        self.centre.copy_(torch.where(count > 0, moved, self.centre))
        return targets


class SinkhornCentring(nn.Module):
    """Sinkhorn-Knopp: prototypes and samples are normalised in turn, samples last.

    Every prototype then has nearly the same share of the batch, and every row is a distribution.
    Scores are cosines, so that their exponentials stay within float32 from a temperature of 0.02.
    """

    def __init__(self, prototypes: int, iterations: int = 3) -> None:
        """``iterations`` as in SwAV, DINOv2 and DINOv3; there is no state."""
        super().__init__()
        self.iterations = iterations

    @torch.no_grad()
    def forward(self, scores: Tensor, temperature: float) -> Tensor:
        """Distributions (M, P) in float32 of cosines (M, P); no gradient."""
        shares = (scores.detach().float() / temperature).exp()
        samples = all_sum(shares.new_tensor(float(len(shares))))
        shares = shares / all_sum(shares.sum())
        for _ in range(self.iterations):
            shares = shares / (all_sum(shares.sum(dim=0)) * shares.shape[1])
            shares = shares / (shares.sum(dim=1, keepdim=True) * samples)
        return shares * samples


@dataclass(frozen=True)
class CentringInfo:
    """One entry of the registry: a title for people, and the module for so many prototypes.

    The module takes scores (M, P) and the teacher's temperature, and gives targets (M, P).
    """

    title: str
    build: Callable[[int], nn.Module]


CENTRINGS: Mapping[str, CentringInfo] = {
    "mean": CentringInfo("running mean", MeanCentring),
    "sinkhorn": CentringInfo("Sinkhorn-Knopp", SinkhornCentring),
}
"""By ``pretrain.centring``."""
