"""Gatekeeper: train the small model of a cascade to be sure where it is right, unsure where not.

Rabanser et al., "Gatekeeper: Improving Model Cascades Through Confidence Tuning", NeurIPS 2025
(2502.19335). With the model's own decision y_hat in the batch (no gradient through it):

    L = alpha mean(1[y_hat = y] CE(p, y)) + (1 - alpha) mean(1[y_hat != y] KL(p || U))

A low ``alpha`` defers better, a high one is more accurate alone. It is a loss of training, on
training data: a second stage after ordinary training, before calibration. For two classes
``KL(p || U) = log 2 - H(p)``, so that a wrong answer is pulled to one half and no further.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["GatekeeperLoss"]


class GatekeeperLoss(nn.Module):
    """One value a row; their mean is L of the module's docstring."""

    def __init__(self, alpha: float) -> None:
        """``alpha`` in (0, 1)."""
        super().__init__()
        self.alpha = alpha

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Losses (N,) of logits (N, K) and labels (N,)."""
        logs = functional.log_softmax(logits, dim=1)
        right = logits.detach().argmax(dim=1) == labels
        correct = -logs.gather(1, labels[:, None])[:, 0]
        divergence = (logs.exp() * logs).sum(dim=1) + math.log(logits.shape[1])
        return torch.where(right, self.alpha * correct, (1 - self.alpha) * divergence)
