"""Self-distillation losses for ExPLoRA: DINO cross-entropy and KoLeo.

DINO (Caron et al., 2104.14294): the student predicts, for every crop, the prototype distribution
that an averaged teacher gives to another crop of the same picture. KoLeo (Sablayrolles et al.,
1806.03198, as DINOv2 uses it) spreads the features of a batch. Written from the formulas.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["DinoHead", "DinoLoss", "koleo"]


class DinoHead(nn.Module):
    """Features (N, D) to prototype scores (N, P): a small network, then cosines."""

    def __init__(self, features: int, prototypes: int, hidden: int = 512, bottleneck: int = 128):
        """Three layers; the last compares unit vectors."""
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(features, hidden), nn.GELU(), nn.Linear(hidden, bottleneck)
        )
        self.prototypes = nn.Parameter(torch.empty(prototypes, bottleneck))
        nn.init.normal_(self.prototypes)

    def forward(self, features: Tensor) -> Tensor:
        """Cosines with all prototypes."""
        vectors = functional.normalize(self.layers(features), dim=-1)
        return vectors @ functional.normalize(self.prototypes, dim=-1).T


class DinoLoss(nn.Module):
    """Cross-entropy between centred, sharpened teacher scores and student scores.

    The centre is a running mean of teacher scores; it keeps one prototype from taking all.
    """

    centre: Tensor

    def __init__(
        self,
        prototypes: int,
        student_temperature: float = 0.1,
        teacher_temperature: float = 0.04,
        centre_momentum: float = 0.9,
    ) -> None:
        """Start with a centre of zero."""
        super().__init__()
        self.student_temperature = student_temperature
        self.teacher_temperature = teacher_temperature
        self.centre_momentum = centre_momentum
        self.register_buffer("centre", torch.zeros(prototypes))

    def targets(self, teacher: Tensor) -> Tensor:
        """Teacher distributions (…, P) of scores (…, P); no gradient."""
        scores = (teacher.detach().float() - self.centre) / self.teacher_temperature
        return scores.softmax(dim=-1)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Mean cross-entropy over all pairs of different crops.

        Args:
            student: scores (C, N, P) of all crops; the first G are the teacher's crops.
            teacher: scores (G, N, P) of the global crops.
        """
        targets = self.targets(teacher)
        logs = (student.float() / self.student_temperature).log_softmax(dim=-1)
        terms = [
            -(targets[g] * logs[c]).sum(dim=-1).mean()
            for g in range(len(targets))
            for c in range(len(logs))
            if c != g
        ]
        return torch.stack(terms).mean()

    @torch.no_grad()
    def update_centre(self, teacher: Tensor) -> None:
        """Move the centre towards the mean of a batch of teacher scores (G, N, P)."""
        self.centre.lerp_(teacher.detach().float().mean(dim=(0, 1)), 1 - self.centre_momentum)


def koleo(features: Tensor, eps: float = 1e-8) -> Tensor:
    """Mean of -log of the distance to the nearest neighbour, on unit vectors (N, D)."""
    if len(features) < 2:
        return features.sum() * 0.0
    unit = functional.normalize(features.float(), dim=-1)
    with torch.no_grad():
        cosines = unit @ unit.T
        cosines.fill_diagonal_(-2.0)
        nearest = cosines.argmax(dim=1)
    return -torch.log((unit - unit[nearest]).norm(dim=-1) + eps).mean()
