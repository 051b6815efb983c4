"""Sophia-G (Liu et al., ICLR 2024, 2305.14342): momentum, clipped by a diagonal curvature.

    m <- b1 m + (1 - b1) g
    h <- b2 h + (1 - b2) B g_hat * g_hat          every k steps (:meth:`SophiaG.update_curvature`)
    w <- w - lr decay w
    w <- w - lr clip(m / max(gamma h, eps), -1, 1)

``g_hat`` is the gradient of the mean cross-entropy of a batch of B rows against labels that are
drawn from the model's own answers (Gauss-Newton-Bartlett estimator, their section 2.3). It needs
first derivatives only. Made for language models; there is no evidence for small heads: see
``docs/experiments.md`` for what was measured here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

__all__ = ["SophiaG", "sampled_labels"]


class SophiaG(Optimizer):
    """See the module; state is saved and loaded like that of any optimizer of torch."""

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.96, 0.99),
        gamma: float = 0.05,
        eps: float = 1e-12,
        weight_decay: float = 0.0,
    ) -> None:
        """Take parameters or groups of them."""
        defaults = {
            "lr": lr,
            "betas": betas,
            "gamma": gamma,
            "eps": eps,
            "weight_decay": weight_decay,
        }
        super().__init__(parameters, defaults)

    def _state(self, parameter: Tensor) -> dict[str, Tensor]:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
            state["curvature"] = torch.zeros_like(parameter)
        return state

    @torch.no_grad()
    def update_curvature(self, rows: int) -> None:
        """Take the gradients in ``grad`` as those of a batch of ``rows`` with sampled labels."""
        for group in self.param_groups:
            beta = group["betas"][1]
            for parameter in group["params"]:
                if parameter.grad is not None:
                    curvature = self._state(parameter)["curvature"]
                    curvature.lerp_(rows * parameter.grad.square(), 1 - beta)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step from the gradients in ``grad``; ``closure`` computes them first."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self._state(parameter)
                momentum = state["momentum"].lerp_(parameter.grad, 1 - group["betas"][0])
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                scale = (group["gamma"] * state["curvature"]).clamp_min(group["eps"])
                parameter.sub_(group["lr"] * (momentum / scale).clamp(-1, 1))
        return loss


@torch.no_grad()
def sampled_labels(logits: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """One label (N,) drawn from the model's own distribution for each row of logits (N, K)."""
    return torch.multinomial(logits.float().softmax(dim=1), 1, generator=generator)[:, 0]
