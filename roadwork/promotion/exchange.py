"""The exact side of "better": how often would chance alone give so large a gain?

If two models are equally good in the sense that, within every group, it is a coin's toss which of
the two gave which answers (two trainings of one recipe, say), then exchanging their answers in any
set of whole groups changes nothing in law. The share of random exchanges with a gain at least as
large as the one that was seen is therefore a p-value, exact for any number of groups and for any
figure (Fisher's randomisation test, with random exchanges as in Phipson and Smyth, "Permutation
p-values should never be zero", Stat. Appl. Genet. Mol. Biol. 9, 2010, equation 2). For models that
are equal on average but not exchangeable it is approximate, as the bootstrap is.
"""

from __future__ import annotations

import numpy as np

from roadwork.evaluation.metrics import metric_infos
from roadwork.evaluation.resamples import Resamples
from roadwork.evaluation.scored import ScoredSet

__all__ = ["exchange_p_value"]

_BLOCK = 2**22
"""Numbers in one block of exchanges: 32 MB."""

_ROUNDING = 1e-12
"""A figure summed in another order may differ by this much; such a gain is an equal one."""


def exchange_p_value(
    figure: str, candidate: ScoredSet, champion: ScoredSet, *, exchanges: int, seed: int = 0
) -> float | None:
    """One-sided p-value of the candidate's gain over the champion.

    The rows of both models are put below one another, and an exchange is a pair of complementary
    weights: of every group one model's rows count in the one figure, the other's in the other. An
    exchange in which a figure is undefined counts as a gain at least as large.

    Args:
        figure: name in ``METRICS`` of one with a better direction, that needs no prediction sets.
        candidate: its answers.
        champion: answers to the same rows, of the same groups.
        exchanges: how many are drawn, at least 1.
        seed: of the drawing.

    Returns:
        ``(1 + #{gain of an exchange >= gain}) / (1 + exchanges)``; None where a figure is
        undefined.
    """
    (info,) = metric_infos([figure])
    sign = 1.0 if info.higher_is_better else -1.0
    ours, theirs = info.compute(candidate).value, info.compute(champion).value
    if ours is None or theirs is None:
        return None
    groups = candidate.n_groups
    both = ScoredSet(
        np.concatenate([candidate.probabilities, champion.probabilities]),
        np.concatenate([candidate.labels, champion.labels]),
    )
    codes = np.concatenate([candidate.group_codes, groups + champion.group_codes])
    rng = np.random.default_rng(seed)
    least = sign * (ours - theirs) - _ROUNDING
    block = max(1, _BLOCK // (2 * groups))
    reached = 0
    for start in range(0, exchanges, block):
        keep = rng.integers(2, size=(min(block, exchanges - start), groups)).astype(np.float64)
        first, second = (
            info.batch(both, Resamples(np.concatenate(parts, axis=1), codes))
            for parts in ((keep, 1.0 - keep), (1.0 - keep, keep))
        )
        reached += int((~(sign * (first - second) < least)).sum())
    return (1 + reached) / (1 + exchanges)
