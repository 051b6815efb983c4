"""Monitors of collapse: does self-distillation still tell pictures apart? No label is looked at.

A network can satisfy self-distillation by giving all pictures the same answer: either always one
prototype or always all of them alike. The entropy of the mean target sees the first, but not the
second, and nothing at all behind Sinkhorn-Knopp, which makes the mean uniform; the divergence of
the targets from their mean is zero in both cases. Two figures look at the features themselves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from roadwork.training.collectives import all_rows, all_sum

__all__ = ["collapse_figures", "collapse_warning"]

_LEAST_DIVERGENCE = 0.001
_LEAST_SPREAD = 0.1


@torch.no_grad()
def collapse_figures(targets: Tensor, features: Tensor) -> dict[str, Tensor]:
    """Figures of one batch of all processes.

    Args:
        targets: the teacher's distributions (M, P).
        features: the teacher's features (G, N, D) of G global crops of N pictures.

    Returns:
        Scalars. ``entropy``: that of the mean target, as a share of log P. ``divergence``: mean
        Kullback-Leibler divergence of the targets from their mean, as a share of log P; at most
        ``entropy``. ``spread``: root of the mean squared distance of unit features from their
        mean, that is the standard deviation over all directions, in [0, 1]. ``neighbour``: share
        of crops whose nearest among the others is of the same picture; 1 / (G N - 1) by chance
        with two crops each.
    """
    scale = math.log(targets.shape[1])
    count = all_sum(targets.new_tensor(float(len(targets))))
    mean = all_sum(targets.sum(dim=0)) / count
    entropy = torch.special.entr(mean).sum()
    own = all_sum(torch.special.entr(targets).sum()) / count
    unit = all_rows(functional.normalize(features.float(), dim=-1).transpose(0, 1).contiguous())
    rows, crops = unit.shape[:2]
    unit = unit.flatten(0, 1)
    spread = (unit - unit.mean(dim=0)).square().sum(dim=1).mean().sqrt()
    cosines = unit @ unit.T
    cosines.fill_diagonal_(-2.0)
    picture = torch.arange(rows, device=unit.device).repeat_interleave(crops)
    same = picture[cosines.argmax(dim=1)] == picture
    return {
        "entropy": entropy / scale,
        # Of a batch, the mean divergence is the entropy of the mean less the mean entropy.
        "divergence": (entropy - own) / scale,
        "spread": spread,
        "neighbour": same.float().mean(),
    }


def collapse_warning(figures: Mapping[str, float], start: Mapping[str, float]) -> str | None:
    """What to tell people after a pass, or None.

    Args:
        figures: means over the pass.
        start: the figures of the first batch, that is of the backbone as it came.
    """
    cures = (
        "lower pretrain.learning_rate, raise pretrain.batch_size, or change pretrain.centring; "
        "the backbone may be better without pretraining (pretrain.enabled: false)"
    )
    if figures["divergence"] < _LEAST_DIVERGENCE:
        kind = (
            "nearly the same few prototypes" if figures["entropy"] < 0.5 else "all prototypes alike"
        )
        return (
            f"pretraining collapses: the teacher gives every picture {kind} (divergence "
            f"{figures['divergence']:.4f} of the targets from their mean): {cures}"
        )
    if figures["spread"] < _LEAST_SPREAD * start["spread"]:
        return (
            f"pretraining collapses: the spread of the features fell from {start['spread']:.3f} "
            f"to {figures['spread']:.3f}: {cures}"
        )
    return None
