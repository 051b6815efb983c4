"""Self-distillation over crops: the DINO head and cross-entropy, and KoLeo.

DINO (Caron et al., 2104.14294): the student predicts, for every crop, the prototype distribution
that an averaged teacher gives to another crop of the same picture. KoLeo (Sablayrolles et al.,
1806.03198, as DINOv2 uses it) spreads the features of a batch. Written from the formulas.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from roadwork.training.collectives import all_rows

__all__ = ["STUDENT_TEMPERATURE", "PrototypeHead", "dino_loss", "koleo"]

STUDENT_TEMPERATURE = 0.1
"""Divides the student's cosines, in DINO, iBOT, DINOv2 and DINOv3 alike."""
_BOTTLENECK = 256
# Deviations of an output that are told from rounding: beside its mean, and at all.
_LEAST_SHARE = 1e-3
_LEAST = 1e-6


class PrototypeHead(nn.Module):
    """Features (N, D) to prototype scores (N, P): a network of three layers, then cosines.

    DINO's head with its published widths (2048 hidden, 256 before the prototypes) by default; the
    weight normalisation of its last layer with the length held at 1 makes its scores cosines.
    """

    def __init__(
        self, features: int, prototypes: int, hidden: int = 2048, bottleneck: int = _BOTTLENECK
    ) -> None:
        """Random prototypes, of which only the directions matter; biases of zero.

        Biases would outweigh what little new layers let through, and all pictures begin alike.
        """
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(features, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, bottleneck),
        )
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        self.prototypes = nn.Parameter(torch.empty(prototypes, bottleneck))
        nn.init.normal_(self.prototypes)

    @torch.no_grad()
    def standardise(self, features: Tensor) -> None:
        """Scale and shift the layers so that each gives mean 0 and deviation 1 on features (M, D).

        The data-dependent start of Salimans & Kingma (1602.07868, equation 6) and Krähenbühl et
        al. (1511.06856), layer by layer. That DINO's head starts so is ours: features share a
        large mean, beside which new layers hardly pass on what tells pictures apart. Their cosines
        with any prototype are then alike and all targets nearly uniform. To leave that takes steps,
        of which published runs have 10^5 and ours a few hundred.

        Outputs that differ by less than a thousandth of their mean keep their scale.
        """
        values = features.float()
        for layer in self.layers:
            values = layer(values)
            if isinstance(layer, nn.Linear):
                mean = values.mean(dim=0)
                scale = values.std(dim=0, correction=0)
                scale = torch.where(scale > _LEAST_SHARE * mean.abs() + _LEAST, scale, 1.0)
                layer.weight.div_(scale[:, None])
                layer.bias.sub_(mean).div_(scale)
                values = (values - mean) / scale

    def forward(self, features: Tensor) -> Tensor:
        """Cosines with all prototypes."""
        vectors = functional.normalize(self.layers(features), dim=-1)
        return vectors @ functional.normalize(self.prototypes, dim=-1).T


def dino_loss(student: Tensor, targets: Tensor, temperature: float = STUDENT_TEMPERATURE) -> Tensor:
    """Mean cross-entropy over all pairs of different crops of a picture.

    Args:
        student: scores (C, N, P) of all crops; the first G are the teacher's crops.
        targets: distributions (G, N, P) of the teacher's crops.
        temperature: divides the student's scores.
    """
    logs = (student.float() / temperature).log_softmax(dim=-1)
    terms = [
        -(targets[g] * logs[c]).sum(dim=-1).mean()
        for g in range(len(targets))
        for c in range(len(logs))
        if c != g
    ]
    return torch.stack(terms).mean()


def koleo(features: Tensor, eps: float = 1e-8) -> Tensor:
    """Mean of -log of the distance to the nearest neighbour, on unit vectors (N, D).

    Neighbours are sought among the rows of all processes.
    """
    unit = all_rows(functional.normalize(features.float(), dim=-1))
    if len(unit) < 2:
        return features.sum() * 0.0
    with torch.no_grad():
        cosines = unit @ unit.T
        cosines.fill_diagonal_(-2.0)
        nearest = cosines.argmax(dim=1)
    return -torch.log((unit - unit[nearest]).norm(dim=-1) + eps).mean()
