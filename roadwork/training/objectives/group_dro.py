"""Group DRO: the worst group of rows first.

Sagawa et al., "Distributionally Robust Neural Networks for Group Shifts", ICLR 2020 (arXiv
1911.08731), algorithm 1: the groups' weights follow their losses by exponentiated gradient ascent.
Groups are the labels within the sources.
"""

from __future__ import annotations

import torch
from torch import Tensor

from roadwork import CLASSES
from roadwork.training.objectives.base import Objective, ObjectiveContext, Step

__all__ = ["GroupDro"]


class GroupDro(Objective):
    """Sum over groups g of q_g times the mean loss of g's rows in the batch.

    Before each sum, q_g is multiplied by exp(step * mean loss) and all are normalised. A group
    without rows in the batch has loss 0 there. The report gives the weights q.
    """

    group_of: Tensor
    weights: Tensor

    def __init__(self, context: ObjectiveContext) -> None:
        """Start with equal weights of all groups that have training rows."""
        super().__init__()
        self.step_size = context.settings.domain.group_step
        filled = torch.from_numpy(context.strata.counts > 0)
        group_of = torch.full(filled.shape, -1, dtype=torch.int64)
        group_of[filled] = torch.arange(int(filled.sum()))
        self.names = [
            f"{source}/{CLASSES[label]}"
            for d, source in enumerate(context.strata.sources)
            for label in range(len(CLASSES))
            if filled[d, label]
        ]
        self.register_buffer("group_of", group_of, persistent=False)
        self.register_buffer("weights", torch.full((len(self.names),), 1.0 / len(self.names)))

    def forward(self, step: Step) -> Tensor:
        """The weighted sum of the groups' losses; moves the weights first."""
        groups = self.group_of[step.domains, step.labels]
        members = torch.nn.functional.one_hot(groups, len(self.names)).to(step.losses.dtype)
        # No matrix product: under autocast it would round the losses to 16 bits.
        losses = (step.losses[:, None] * members).sum(dim=0) / members.sum(dim=0).clamp(min=1)
        if self.training:
            with torch.no_grad():
                raised = self.weights * torch.exp(self.step_size * losses.detach().float())
                self.weights.copy_(raised / raised.sum())
        return (self.weights * losses).sum()

    def report(self) -> dict[str, float]:
        """Weight of each group at the end of the pass."""
        return {
            f"weight {name}": float(q) for name, q in zip(self.names, self.weights, strict=True)
        }
