"""A batch computed in parts: the loss of the whole batch, with the memory of one part.

Only the rows' features are computed part by part; head, losses and objective see the whole batch
at once. So what is differentiated is the loss of the whole batch, whatever it is: a mean over
rows, the worst group of the batch, or a statistic of its domains; and every optimizer takes its
one step from one gradient. The activations of a part are dropped and computed again when the
backward pass arrives there (Chen et al., "Training Deep Nets with Sublinear Memory Cost",
arXiv 1604.06174). The last part needs no second computation: n parts cost (n - 1) / n of one
forward pass more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

__all__ = ["in_parts"]


def in_parts(
    function: Callable[[Mapping[str, Tensor]], Tensor], batch: Mapping[str, Tensor], parts: int
) -> Tensor:
    """``function(batch)``, of which no more than one part's activations are held at a time.

    Args:
        function: row by row: tensors of B rows to (B, …).
        batch: tensors of B rows each.
        parts: as equal as possible, the first ones one row longer; at most B of them.
    """
    rows = len(next(iter(batch.values())))
    parts = min(parts, rows)
    if parts == 1:
        return function(batch)
    split = {name: tensor.tensor_split(parts) for name, tensor in batch.items()}
    pieces = [{name: tensors[i] for name, tensors in split.items()} for i in range(parts)]
    done = [checkpoint(function, piece, use_reentrant=False) for piece in pieces[:-1]]
    # The backward pass begins with the last part, whose activations are still there, and has
    # freed them before it comes to the others.
    return torch.cat([*done, function(pieces[-1])])
