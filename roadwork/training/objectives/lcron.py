"""Losses for a cascade of two scorers: LCRON for a funnel, and one for exits on both sides.

A funnel keeps the best q1 of a list by the first score and calls the best q2 of those positive by
the second. LCRON (Wang et al., "Learning Cascade Ranking as One Network", ICML 2025, 2503.09492)
trains both scorers on the probability to survive both stages. The order is made soft by NeuralSort
(Grover et al., ICLR 2019, 1903.08850); the survival probability of item k in stage i is

    P_i^q[k] = sum_{j <= q} M_i[j, k] / (sum_j M_i[j, k] + 1e-6)      (denominator without gradient)

and of the cascade at least the product over the stages, P_CS (their lower bound). The probability
to be dropped by a stage is the same sum over the other rows. Both add to one, but since the
denominator passes no gradient, ``1 - P`` in its place would have another gradient: it pushes an
item out of the first rows without pulling it into the others, and undoes what was learned. The
released code sums the other rows for a stage, and so does this. For the same reason the value may
rise while training goes well.

For the cascade as a whole the paper writes ``log(1 - P_CS)`` for an item that is to be dropped.
Ours differs there: with D_i the sum over the other rows of stage i, we take the logarithm of
``1 - (1 - D_1) (1 - D_2)``, dropped by either stage. The value is the same, up to the 1e-6 in the
denominators; the gradient is not, and ``1 - P_CS`` has the fault that was just told of a stage.

A cascade that may also answer at its first stage, on both sides, is no funnel, and its loss here is
not LCRON: :func:`two_sided_cascade_loss` is ours.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["lcron_funnel_loss", "neural_sort", "survival", "two_sided_cascade_loss"]

_EPS = 1e-6


def neural_sort(scores: Tensor, temperature: float) -> Tensor:
    """Soft permutation (N, N) of scores (N,): row j says which item is the j-th largest.

    Rows sum to one. Computed in float32. The scores are standardised and the temperature counts
    in units of N, so that it means the same whatever the scores' scale and the list's length: a
    small one is the hard order, whose gradient vanishes.
    """
    s = scores.float()
    s = (s - s.mean()) / (s.std(unbiased=False) + _EPS)
    n = len(s)
    distances = (s[:, None] - s[None, :]).abs().sum(dim=1)
    ranks = n + 1 - 2 * torch.arange(1, n + 1, device=s.device, dtype=s.dtype)
    logits = (ranks[:, None] * s[None, :] - distances[None, :]) / (n * temperature)
    return torch.softmax(logits, dim=1)


def survival(order: Tensor, keep: int) -> tuple[Tensor, Tensor]:
    """Soft probabilities (N,) that an item is kept, among the best ``keep`` of a soft permutation,
    and that it is dropped."""
    total = order.sum(dim=0).detach() + _EPS
    return order[:keep].sum(dim=0) / total, order[keep:].sum(dim=0) / total


def _cross_entropy(kept: Tensor, dropped: Tensor, y: Tensor) -> Tensor:
    """Of probabilities (N,) that add to one."""
    right = torch.where(y > 0, kept, dropped)
    return -(right.clamp(0, 1) + _EPS).log().mean()


def lcron_funnel_loss(
    first: Tensor,
    second: Tensor,
    labels: Tensor,
    keep: int,
    log_variances: Tensor,
    temperature: float = 0.2,
) -> Tensor:
    """Loss of a funnel on one list: end to end, and each stage alone.

    The gradient of the first part at items that are to be dropped is ours (see the module).

    Args:
        first: scores (N,) of the first stage, on all N items.
        second: scores (N,) of the second stage, on all N items too.
        labels: (N,) 0 or 1.
        keep: how many items the first stage lets through.
        log_variances: (2,) learned weights of the two single-stage terms: each counts
            ``0.5 exp(-s) L + 0.5 s``, which is the paper's weighting with ``s = log w^2``.
        temperature: of :func:`neural_sort`.

    Returns:
        A scalar. In a list without a positive, or of positives alone, there is no order to learn:
        zero, with a gradient of zero.

    Raises:
        ValueError: ``keep`` is not between 1 and N.
    """
    n, positives = len(labels), int(labels.sum())
    if not 1 <= keep <= n:
        raise ValueError(f"keep is {keep}: the first stage keeps 1 to {n} of {n} items")
    if positives in (0, n):
        return (first.sum() + second.sum()) * 0.0
    y = labels.float()
    orders = [neural_sort(scores, temperature) for scores in (first, second)]
    kept, dropped = zip(survival(orders[0], keep), survival(orders[1], positives), strict=True)
    loss = _cross_entropy(kept[0] * kept[1], 1 - (1 - dropped[0]) * (1 - dropped[1]), y)
    for order, s in zip(orders, log_variances, strict=True):
        single = _cross_entropy(*survival(order, positives), y)
        loss = loss + 0.5 * torch.exp(-s) * single + 0.5 * s
    return loss


def two_sided_cascade_loss(
    first: Tensor,
    second: Tensor,
    labels: Tensor,
    low: float,
    high: float,
    temperature: float = 0.1,
) -> Tensor:
    """Cross-entropy of a cascade that answers at once where the first score is sure.

    ``P(roadwork) = a + m p2`` with ``a = sigma((p1 - high) / T)`` (answered yes at once),
    ``m = sigma((p1 - low) / T) - a`` (passed on), p1 and p2 the stages' probabilities.

    The exits are soft to the end: with high = 0.9 and T = 0.1, p1 = 1 is answered at once with
    weight sigma(1) = 0.731, and stage 2 counts for the rest. Where stage 1 is sure and wrong its
    gradient vanishes with that of its sigmoid, so that something else must pull it back.

    Args:
        first: logits (N,) of roadwork of the first stage.
        second: logits (N,) of the second stage, on all items.
        labels: (N,) 0 or 1.
        low: probability below which the first stage says no.
        high: probability above which it says yes.
        temperature: how soft the exits are, in units of probability.

    Raises:
        ValueError: the exits are not in order within (0, 1).
    """
    if not 0 < low < high < 1:
        raise ValueError(f"the exits {low} and {high} must be in order within (0, 1)")
    p1, p2 = torch.sigmoid(first.float()), torch.sigmoid(second.float())
    yes = torch.sigmoid((p1 - high) / temperature)
    passed = torch.sigmoid((p1 - low) / temperature) - yes
    p = yes + passed * p2
    return _cross_entropy(p, 1 - p, labels.float())
