"""Focal loss (Lin et al., ICCV 2017, 1708.02002): easy rows count little."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["FocalLoss"]


class FocalLoss(nn.Module):
    """``-(1 - p_y)^gamma log p_y`` of logits (N, K) and labels (N,), one value a row.

    With ``gamma`` zero it is cross-entropy. Probabilities trained so are too unsure by design:
    calibrate them.
    """

    def __init__(self, gamma: float) -> None:
        """``gamma`` is at least zero; the paper takes 2."""
        super().__init__()
        self.gamma = gamma

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Losses (N,)."""
        logs = functional.log_softmax(logits, dim=1).gather(1, labels[:, None])[:, 0]
        # 1 - p from the log, exact where p is near one. Where it is zero, the slope of its power
        # is infinite for a gamma below one, and would be no number times a loss of zero.
        rest = (-torch.expm1(logs)).clamp_min(torch.finfo(logs.dtype).tiny)
        return -(rest**self.gamma) * logs
