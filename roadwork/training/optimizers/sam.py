"""Sharpness-aware minimisation (Foret et al., ICLR 2021, 2010.01412).

The gradient is taken not at the weights w but at ``w + rho g / ||g||``, the worst neighbour to
first order, and applied at w by any optimizer. So every step needs two passes over a batch.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

__all__ = ["Sharpness"]


class Sharpness:
    """The excursion to the worst neighbour, and the way back.

    Only what trains is moved; with adapters the norm runs over few parameters, so that ``rho``
    means something else than for a whole network.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], rho: float) -> None:
        """``rho`` is the length of the excursion, in the units of the weights."""
        self.parameters = [p for p in parameters if p.requires_grad]
        self.rho = rho
        self._start: list[Tensor] = []

    @torch.no_grad()
    def ascend(self) -> Tensor:
        """Move along the gradients that stand in ``grad``; give their norm.

        A gradient of zero moves nothing.
        """
        with_gradient = [p for p in self.parameters if p.grad is not None]
        self._start = [p.detach().clone() for p in self.parameters]
        if not with_gradient:
            return torch.zeros(())
        norms = [torch.linalg.vector_norm(p.grad) for p in with_gradient if p.grad is not None]
        norm = torch.linalg.vector_norm(torch.stack(norms))
        scale = self.rho / (norm + 1e-12)
        for parameter in with_gradient:
            assert parameter.grad is not None
            parameter.add_(parameter.grad * scale.to(parameter))
        return norm

    @torch.no_grad()
    def descend(self) -> None:
        """Go back to exactly where :meth:`ascend` started; gradients stay."""
        for parameter, start in zip(self.parameters, self._start, strict=True):
            parameter.copy_(start)
        self._start = []
