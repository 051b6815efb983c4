"""The moving average of the weights: judged and kept, while training goes on from the raw ones.

    a <- d_t a + (1 - d_t) w,        d_t = min(decay, (1 + t) / (10 + t)),    t = 0, 1, …

after step t (Polyak and Juditsky, 1992; the exponential form and the slow start of its decay as in
TensorFlow's ``ExponentialMovingAverage``). Without the slow start the first weights would count
for ``1 / (1 - decay)`` steps whatever is learned meanwhile.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from roadwork.models.adapters import trainable
from roadwork.models.sharding import cut_like

__all__ = ["MovingAverage", "average_decay"]


def average_decay(decay: float, step: int) -> float:
    """d_t of the module's docstring."""
    return min(decay, (1 + step) / (10 + step))


class MovingAverage(nn.Module):
    """Averages of what trains in a network, one buffer each; so every checkpoint has them.

    Buffers of the network need none: batch statistics do not move in fine-tuning.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        """Start at the network's weights; ``decay`` in (0, 1)."""
        super().__init__()
        self.decay = decay
        for name, parameter in trainable(network):
            self.register_buffer(_key(name), parameter.detach().clone())

    def _pairs(self, network: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
        named = list(trainable(network))
        return [self.get_buffer(_key(name)) for name, _ in named], [p.data for _, p in named]

    def shard(self, network: nn.Module) -> None:
        """Cut the averages as the network's weights have been cut."""
        for name, parameter in trainable(network):
            self.register_buffer(
                _key(name), cut_like(self.get_buffer(_key(name)), parameter.detach())
            )

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take in the weights after ``step``, counted from 0."""
        averages, weights = self._pairs(network)
        torch._foreach_lerp_(averages, weights, 1 - average_decay(self.decay, step))

    @torch.no_grad()
    def exchange(self, network: nn.Module) -> None:
        """Put the averages into the network and its weights here; a second call undoes it."""
        for average, weight in zip(*self._pairs(network), strict=True):
            kept = weight.clone()
            weight.copy_(average)
            average.copy_(kept)


def _key(name: str) -> str:
    # Names of buffers hold no dots.
    return name.replace(".", "/")
