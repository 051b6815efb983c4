"""Domain adversary: a head that names the source of a feature, behind a reversed gradient.

Ganin et al., "Domain-Adversarial Training of Neural Networks", JMLR 17(59), 2016 (arXiv
1505.07818): the head learns to tell the sources apart, and the network beneath is pushed the other
way, until features tell nothing of their source.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["DomainHeads", "adversary_schedule", "reverse_gradient"]

_HIDDEN = 128


class _Reversal(torch.autograd.Function):
    """Identity forwards; backwards the gradient times ``-weight``."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        (weight,), (gradient,) = ctx.saved_tensors, grad_outputs
        return -weight.to(gradient.dtype) * gradient, None


def reverse_gradient(values: Tensor, weight: Tensor) -> Tensor:
    """``values`` themselves, whose gradient is multiplied by ``-weight`` on its way back.

    Args:
        values: of any shape.
        weight: a tensor without axes. A number would be a constant of a compiled graph, and its
            change at every step would compile the graph again.
    """
    return _Reversal.apply(values, weight)


def adversary_schedule(progress: float) -> float:
    """Weight of the adversary at a share of training in [0, 1]: 2 / (1 + exp(-10 p)) - 1.

    It rises from 0 to nearly 1, so that a head that knows nothing yet does not disturb (Ganin et
    al., 2016, section 5.2.2).
    """
    return 2.0 / (1.0 + math.exp(-10.0 * progress)) - 1.0


class DomainHeads(nn.Module):
    """Features (B, W) to scores of D domains, with one head for all rows or one for each class."""

    def __init__(self, width: int, domains: int, heads: int) -> None:
        """``heads`` is 1, or the number of classes."""
        super().__init__()
        self.heads = nn.ModuleList(
            nn.Sequential(
                # The head's own scale must not depend on that of the features.
                nn.LayerNorm(width, elementwise_affine=False),
                nn.Linear(width, _HIDDEN),
                nn.ReLU(),
                nn.Linear(_HIDDEN, domains),
            )
            for _ in range(heads)
        )

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """Scores (B, D); with several heads, those of the head of each row's own class (B,)."""
        scores = torch.stack([head(features) for head in self.heads], dim=1)
        chosen = labels if len(self.heads) > 1 else torch.zeros_like(labels)
        return scores[torch.arange(len(labels), device=labels.device), chosen]
