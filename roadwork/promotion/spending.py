"""How often a test set was opened, and the level that the next comparison on it gets.

Every comparison on one test set is another chance of a lucky candidate. The k-th may therefore err
with probability ``level / (k (k + 1))`` only; these add up to ``level`` however many there are
(1 / (k (k + 1)) = 1/k - 1/(k + 1)), so that by the union bound the probability that *any* candidate
which is not better is promoted on this test set is at most ``level``. The bound supposes that the
candidates were made without looking at the verdicts before: a candidate that was changed because
of what the test set said is fitted to the test set, and no division mends that.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from roadwork.evidence import Opening
from roadwork.promotion.verdict import Verdict
from roadwork.settings import PromoteSettings

__all__ = ["candidates_judged", "level_at", "next_opening"]


def level_at(place: int, level: float, spending: Literal["test_set", "candidate"]) -> float:
    """Level of the ``place``-th comparison on a test set, counted from 1."""
    return level if spending == "candidate" else level / (place * (place + 1))


def candidates_judged(verdicts: Iterable[Verdict], test_hash: str, bundle_hash: str) -> int:
    """How many different bundles were judged on a test set, the given one included."""
    seen = {verdict.bundle_hash for verdict in verdicts if verdict.test_hash == test_hash}
    return len(seen | {bundle_hash})


def next_opening(
    verdicts: Iterable[Verdict],
    settings: PromoteSettings,
    *,
    test_hash: str,
    candidate: str,
    champion: str,
) -> Opening:
    """The place and the level of a comparison, after the verdicts of the log, oldest first.

    The same comparison asked again (the same two bundles, test set and figure) gives the same
    numbers, tells nothing new, and keeps its place.

    Args:
        verdicts: every verdict that was written down, on any test set.
        settings: figure, level and spending.
        test_hash: names the test set of the candidate.
        candidate: hash of its bundle.
        champion: hash of the champion's bundle.
    """
    asked = (candidate, champion, settings.better)
    taken = 0
    for verdict in verdicts:
        earlier = verdict.opening
        if earlier is None or earlier.test_hash != test_hash:
            continue
        if (earlier.candidate, earlier.champion, earlier.figure) == asked:
            taken = earlier.place - 1
            break
        taken = max(taken, earlier.place)
    place = taken + 1
    return Opening(
        test_hash=test_hash,
        candidate=candidate,
        champion=champion,
        figure=settings.better,
        place=place,
        level=level_at(place, settings.level, settings.spending),
    )
