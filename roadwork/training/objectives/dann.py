"""DANN: features that do not tell the source; plain, and within each class.

Plain DANN (Ganin et al., JMLR 17(59), 2016, arXiv 1505.07818) makes the features of all rows alike
over sources. Where sources differ in how often they show roadwork, the source says something about
the label, and features without the source lose it: alignment then costs accuracy. The conditional
form aligns the sources within each true class, with one domain head per class, as Li et al. do in
"Deep Domain Generalization via Conditional Invariant Adversarial Networks" (ECCV 2018); differing
priors do not matter to it, because it never compares rows of different classes.

Within what is aligned, every source counts alike, whatever the sampler draws of it: each row's
domain loss is divided by the share of its kind.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from roadwork.errors import ConfigError
from roadwork.models.domain import DomainHeads, adversary_schedule, reverse_gradient
from roadwork.training.objectives.base import Objective, ObjectiveContext, Step

__all__ = ["DomainAdversarial", "conditional_dann", "dann"]


class DomainAdversarial(Objective):
    """Mean label loss plus the domain loss of heads behind a reversed gradient.

    The heads learn at full rate; the network receives their gradient times ``-weight`` times the
    schedule of :func:`~roadwork.models.domain.adversary_schedule`. The report gives the heads'
    ``domain_accuracy`` on the training batches of the pass, the mean of the recalls of the
    domains so that chance is 1/D, and that ``domain_chance``: near chance, the features hide the
    source (or the heads are too weak to find it).
    """

    weights: Tensor
    hits: Tensor
    totals: Tensor

    def __init__(self, context: ObjectiveContext, heads: int, weights: NDArray[np.float64]) -> None:
        """``weights`` (D, K) multiply the domain loss of a row; 0 leaves a kind of rows out."""
        super().__init__()
        self.largest = context.settings.domain.weight
        self.heads = DomainHeads(context.width, len(weights), heads)
        self.register_buffer("weights", torch.from_numpy(weights).float(), persistent=False)
        for name in ("hits", "totals"):
            self.register_buffer(name, torch.zeros(heads, len(weights), dtype=torch.int64))

    def forward(self, step: Step) -> Tensor:
        """Label loss plus domain loss."""
        weight = torch.tensor(
            self.largest * adversary_schedule(step.progress), device=step.features.device
        )
        scores = self.heads(reverse_gradient(step.features.float(), weight), step.labels)
        losses = functional.cross_entropy(scores, step.domains, reduction="none")
        weights = self.weights[step.domains, step.labels]
        if self.training:
            self._count(scores.detach(), step, weights > 0)
        return step.losses.mean() + (weights * losses).mean()

    @torch.no_grad()
    def _count(self, scores: Tensor, step: Step, aligned: Tensor) -> None:
        single = len(self.hits) == 1
        head = torch.zeros_like(step.labels) if single else step.labels
        cells = head * self.hits.shape[1] + step.domains
        right = aligned & (scores.argmax(dim=1) == step.domains)
        for counter, which in ((self.hits, right), (self.totals, aligned)):
            counter += torch.bincount(cells[which], minlength=counter.numel()).view_as(counter)

    def report(self) -> dict[str, float]:
        """Accuracy of the heads over the pass, and what guessing would reach."""
        seen = self.totals > 0
        recalls = torch.where(seen, self.hits / self.totals.clamp(min=1), 0.0)
        heads = seen.sum(dim=1)
        accuracy = recalls.sum(dim=1)[heads > 0] / heads[heads > 0]
        self.hits.zero_()
        self.totals.zero_()
        return {
            "domain_accuracy": float(accuracy.mean()),
            "domain_chance": float((1.0 / heads[heads > 0]).mean()),
        }


def dann(context: ObjectiveContext) -> DomainAdversarial:
    """One head over all rows; every source counts alike."""
    share = context.drawn.sum(axis=1, keepdims=True)
    weights = np.broadcast_to(1.0 / (len(share) * share), context.drawn.shape)
    return DomainAdversarial(context, 1, np.where(context.drawn > 0, weights, 0.0))


def conditional_dann(context: ObjectiveContext) -> DomainAdversarial:
    """One head for each class; within a class every source that has it counts alike.

    Raises:
        ConfigError: no class occurs in two sources.
    """
    drawn = context.drawn
    having = (drawn > 0).sum(axis=0)  # sources of each class
    aligned = having > 1
    if not aligned.any():
        raise ConfigError(
            "finetune.domain.method: cdann aligns the sources within each label, but each label "
            "occurs in one source alone: there is nothing to align. Use none or group_dro, or add "
            "images of the other label to a source."
        )
    total = drawn * aligned.sum() * having
    weights = np.divide(1.0, total, out=np.zeros_like(drawn), where=aligned & (drawn > 0))
    return DomainAdversarial(context, drawn.shape[1], weights)
