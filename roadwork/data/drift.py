"""Drift: does each source of a manifest still look like the source that was once accepted?

Images of one group (a drive) resemble each other, so the tests count groups, not images. Every
question has an exact or a conservative test, all questions together share one level (Bonferroni),
and a difference must also be large enough to matter: with a million images everything differs.

What these tests cannot see: labels that were exchanged at random in a source of single images
whose prior is one half. Nothing in a table of photographs would show it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray

from roadwork.data.profile import SourceProfile, StatisticProfile, group_shares
from roadwork.data.two_sample import beyond_order_statistics, fisher_tails

__all__ = ["LEVEL", "QUESTIONS", "Deviation", "Question", "SourceRows", "suspicion"]

LEVEL = 0.001
"""Chance that data like the reference fail at all, whatever the number of sources."""

_LEAST_PRIOR = 0.05
_LEAST_MIX = 0.10
_LEAST_OUTSIDE = 0.02
_LEAST_SHIFT = 0.15
_FEWEST_GROUPS = 3

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class SourceRows:
    """The rows of one source as arrays of one length.

    Attributes:
        labels: class indices, (N,).
        groups: numbers 0, 1, … of the groups that are never separated, (N,).
        drives: numbers of the drives as the source names them, (N,).
        profile: of these rows.
        statistics: image statistics by name, (N,) each.
    """

    labels: NDArray[np.int64]
    groups: Rows
    drives: Rows
    profile: SourceProfile
    statistics: Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Deviation:
    """One question about one source, answered.

    Attributes:
        differs: whether the source differs from the reference, beyond chance and enough to matter.
        p_value: of the test, before any correction for the number of questions.
        words: what was found, as half a sentence.
        rows: rows that account for it, the most suspicious first; empty unless it differs.
    """

    differs: bool
    p_value: float
    words: str
    rows: Rows


@dataclass(frozen=True)
class Question:
    """A question about a source: its title, the statistic it is about, and the test.

    ``ask(reference, rows, statistic, level)`` answers at ``level`` for this one question.
    """

    title: str
    statistic: str | None
    ask: Callable[[SourceProfile, SourceRows, str, float], Deviation]


def suspicion(labels: NDArray[np.int64], drives: Rows) -> NDArray[np.float64]:
    """Share of each row's drive that has the row's own label, (N,): the lower, the odder."""
    share = group_shares(labels > 0, drives, int(drives.max()) + 1)[drives]
    return np.where(labels > 0, share, 1.0 - share)


def prior_differs(
    reference: SourceProfile, rows: SourceRows, statistic: str, level: float
) -> Deviation:
    """Fisher's exact test of the shares of roadwork, on effective numbers of images.

    A source of n images counts as ``n / (1 + (k - 1) r)`` independent ones, with k the size of an
    average image's group and r the agreement of labels within groups (Kish, "Survey Sampling",
    1965): the larger r of both sides, and 1 where neither side tells.
    """
    found = rows.profile
    known = [r for r in (reference.label_icc, found.label_icc) if r is not None]
    agreement = max(known, default=1.0)
    sizes = [
        max(1, floor(side.images / (1.0 + (side.mean_group - 1.0) * agreement)))
        for side in (found, reference)
    ]
    hits = [round(side.prior * size) for side, size in zip((found, reference), sizes, strict=True)]
    more, fewer = fisher_tails(hits[0], sizes[0], hits[1], sizes[1])
    p = min(1.0, 2 * min(more, fewer))
    differs = p < level and abs(found.prior - reference.prior) > _LEAST_PRIOR
    over = rows.labels > 0 if found.prior > reference.prior else rows.labels == 0
    order = np.argsort(suspicion(rows.labels, rows.drives), kind="stable")
    return Deviation(
        differs,
        p,
        f"{_percent(found.prior)} of its images show roadwork, in the reference "
        f"{_percent(reference.prior)}",
        order[over[order]] if differs else _NONE,
    )


def drives_mix_labels(
    reference: SourceProfile, rows: SourceRows, statistic: str, level: float
) -> Deviation:
    """Fisher's exact test, one-sided: do more drives of two or more images hold both labels?

    Labels that were exchanged at random leave the prior nearly alone but break up drives. A drive
    is one trial; drives are taken to have about the sizes that they had in the reference.
    """
    found = rows.profile
    if not found.drives or not reference.drives:
        return Deviation(False, 1.0, "has no drive of two images", _NONE)
    p = fisher_tails(found.mixed_drives, found.drives, reference.mixed_drives, reference.drives)[0]
    share, before = (side.mixed_drives / side.drives for side in (found, reference))
    differs = p < level and share - before > _LEAST_MIX
    odd = suspicion(rows.labels, rows.drives)
    order = np.argsort(odd, kind="stable")
    return Deviation(
        differs,
        p,
        f"{_percent(share)} of its drives hold both labels, in the reference {_percent(before)}",
        order[odd[order] < 0.5] if differs else _NONE,
    )


def statistic_differs(
    reference: SourceProfile, rows: SourceRows, statistic: str, level: float
) -> Deviation:
    """Do more images lie outside of the reference's range, or on one side of its median?

    Two tests at half the level each, both of :func:`beyond_order_statistics`. Each group is one
    trial with the share of its images as outcome. As if all its images agreed: that is exact if
    they do, and conservative if they do not. A reference of fewer than three groups fails nothing.
    """
    wanted, values = reference.statistics.get(statistic), rows.statistics[statistic]
    m, n = reference.groups, rows.profile.groups
    if wanted is None or m < _FEWEST_GROUPS:
        return Deviation(False, 1.0, "has too few groups in the reference to compare", _NONE)
    below, above = values < wanted.low, values > wanted.high
    shares = [
        group_shares(hits, rows.groups, n)
        for hits in (below | above, values < wanted.median, values > wanted.median)
    ]
    first, middle, last = (ceil(q * m * (1 - 1e-9)) for q in (0.005, 0.5, 0.995))
    # Gaps between the reference's groups that lie outside of the range, and on each side.
    gaps = (first + m + 1 - last, middle, m + 1 - middle)
    p_range, p_low, p_high = (
        beyond_order_statistics(m + 1 - gap, gap, n, floor(float(share.sum()) + 1e-9))
        for gap, share in zip(gaps, shares, strict=True)
    )
    p_middle = min(1.0, 2 * min(p_low, p_high))
    outside, lower, upper = (float(share.mean()) for share in shares)
    strays = p_range < level / 2 and outside > _LEAST_OUTSIDE
    shifts = p_middle < level / 2 and max(lower, upper) > 0.5 + _LEAST_SHIFT
    words = (
        f"{_percent(outside)} of its images lie outside of {_range(wanted)}, which held 99 % of "
        f"the reference, and {_percent(lower)} below the reference's median {wanted.median:.1f}"
    )
    return Deviation(
        strays or shifts,
        min(1.0, 2 * min(p_range, p_middle)),
        words,
        _strays(values, wanted, strays, lower > upper) if strays or shifts else _NONE,
    )


def _strays(
    values: NDArray[np.float64], wanted: StatisticProfile, outside: bool, low: bool
) -> Rows:
    """Rows outside of the range, the farthest first; for a mere shift, those on its side."""
    if outside:
        distance = np.maximum(wanted.low - values, values - wanted.high)
    else:
        distance = wanted.median - values if low else values - wanted.median
    order = np.argsort(-distance, kind="stable")
    return order[distance[order] > 0]


def _questions(statistics: Sequence[str]) -> dict[str, Question]:
    return {
        "prior": Question("the share of roadwork", None, prior_differs),
        "mixed_drives": Question(
            "the share of drives that hold both labels", None, drives_mix_labels
        ),
        **{name: Question(f"the {name}", name, statistic_differs) for name in statistics},
    }


_NONE: Rows = np.empty(0, dtype=np.int64)

QUESTIONS: Mapping[str, Question] = _questions(("luminance", "contrast", "saturation", "sharpness"))
"""Every question by its name, in the order of the report."""


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _range(wanted: StatisticProfile) -> str:
    return f"{wanted.low:.1f} to {wanted.high:.1f}"
