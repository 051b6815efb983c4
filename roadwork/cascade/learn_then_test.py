"""Learn then Test: which settings of a threshold keep a risk below a bound, with a guarantee.

Angelopoulos, Bates, Candès, Jordan, Lei, "Learn then Test: Calibrating Predictive Algorithms to
Achieve Risk Control", 2110.01052. For every setting the hypothesis "its risk is above the bound"
gets a p-value. Fixed-sequence testing goes through the settings from the safest on, in an order
that was fixed before the labels were seen, and stops at the first hypothesis that is not rejected:
with probability at least 1 - delta no setting before the stop has a risk above the bound.

Images of one drive are not independent, drives are. So **every group has one vote**: the share of
its images on which the event happened. The risk is then the mean of that share over groups: what
befalls an image drawn from a drive that was drawn first, and not an image drawn from all images.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roadwork.calibration.base import FloatArray, IntArray
from roadwork.errors import ConfigError, DataError

__all__ = [
    "GroupVotes",
    "binomial_p_value",
    "fixed_sequence",
    "hoeffding_bentkus_p_value",
    "votes_needed",
]

# Sums of shares such as 1/3 come out a little beside whole numbers.
_DIGITS = 9


def binomial_p_value(events: ArrayLike, n: int, bound: float) -> FloatArray:
    """P(Binomial(n, bound) <= events), exact for "the risk is at least ``bound``".

    Args:
        events: (J,) whole numbers of events among n independent votes of 0 or 1.
        n: votes; without a vote every p-value is 1.
        bound: in (0, 1).
    """
    from scipy.stats import binom

    counts = np.asarray(events, dtype=np.float64)
    if n == 0:
        return np.ones(counts.shape)
    return np.asarray(binom.cdf(counts, n, bound), dtype=np.float64)


def hoeffding_bentkus_p_value(events: ArrayLike, n: int, bound: float) -> FloatArray:
    """The smaller of Hoeffding's and Bentkus' bound, for votes anywhere in [0, 1].

    With mean vote m = events / n: Hoeffding ``exp(-n h(min(m, bound), bound))``, h being the
    Kullback-Leibler divergence of two coins, and Bentkus ``e P(Binomial(n, bound) <= ceil(n m))``
    (Bates et al., "Distribution-Free, Risk-Controlling Prediction Sets", 2101.02703). At most 1.

    Args:
        events: (J,) sums of n independent votes in [0, 1].
        n: votes; without a vote every p-value is 1.
        bound: in (0, 1).
    """
    from scipy.special import rel_entr

    totals = np.asarray(events, dtype=np.float64)
    if n == 0:
        return np.ones(totals.shape)
    mean = np.minimum(totals / n, bound)
    divergence = rel_entr(mean, bound) + rel_entr(1.0 - mean, 1.0 - bound)
    bentkus = np.e * binomial_p_value(np.ceil(np.round(totals, _DIGITS)), n, bound)
    return np.minimum(1.0, np.minimum(np.exp(-n * divergence), bentkus))


def fixed_sequence(p_values: ArrayLike, delta: float) -> int:
    """How many hypotheses are rejected, from the first on: those before the first p above delta.

    Args:
        p_values: (J,) in the order that was fixed beforehand, the safest setting first.
        delta: probability in (0, 1) with which any rejection may be wrong.

    Raises:
        ConfigError: delta is not strictly between 0 and 1.
    """
    if not 0.0 < delta < 1.0:
        raise ConfigError(f"delta must lie strictly between 0 and 1, not {delta!r}.")
    kept = np.asarray(p_values, dtype=np.float64) > delta
    return int(np.argmax(kept)) if kept.any() else len(kept)


def votes_needed(bound: float, delta: float) -> int:
    """Fewest votes with which "the risk is above the bound" can be rejected: those without event.

    Both tests then have the p-value ``(1 - bound)^n``.

    Args:
        bound: in (0, 1).
        delta: in (0, 1).
    """
    return math.ceil(math.log(delta) / math.log1p(-bound) - 1e-9)


@dataclass(frozen=True, eq=False)
class GroupVotes:
    """What the counted rows of every group weigh.

    Attributes:
        weights: (N,) one over the number of counted rows in the row's group; 0 where not counted.
        n: groups that have a counted row.
        single: no group has two: then votes are 0 or 1, and the exact binomial test applies.
    """

    weights: FloatArray
    n: int
    single: bool

    @classmethod
    def of(cls, groups: ArrayLike | None, counted: NDArray[np.bool_]) -> Self:
        """Votes of the counted rows (N,) of groups (N,); without groups every row is its own.

        Raises:
            DataError: there is not one group per row.
        """
        names = np.arange(len(counted)) if groups is None else np.asarray(groups)
        if names.shape != counted.shape:
            raise DataError(
                f"groups must have shape {counted.shape} like the rows, not {names.shape}"
            )
        codes = np.unique(names, return_inverse=True)[1].reshape(-1)
        sizes = np.bincount(codes, weights=counted, minlength=1)
        weights = np.where(counted, 1.0 / np.maximum(sizes[codes], 1.0), 0.0)
        return cls(weights=weights, n=int((sizes > 0).sum()), single=bool(sizes.max() <= 1))

    def p_values(
        self, event: NDArray[np.bool_], step: IntArray, steps: int, bound: float
    ) -> FloatArray:
        """p-values (J,) of "the risk of setting j is above the bound", for nested settings.

        Args:
            event: (N,) whether the event happens to a row once its setting is reached.
            step: (N,) first setting at which it does; ``steps`` or more for never.
            steps: J, the number of settings.
            bound: in (0, 1).
        """
        reached = np.minimum(step, steps)
        weights = np.where(event, self.weights, 0.0)
        sums = np.cumsum(np.bincount(reached, weights=weights, minlength=steps + 1)[:steps])
        test = binomial_p_value if self.single else hoeffding_bentkus_p_value
        return test(np.round(sums, _DIGITS), self.n, bound)
