"""The defer threshold: answers from this confidence on stand alone, and are rarely wrong.

Learn then Test (2110.01052; :mod:`roadwork.cascade.learn_then_test`) goes through levels of
confidence from the strictest on and stops at the first for which it cannot reject that the answers
accepted there are wrong too often. The levels must be fixed before the labels are seen:
:mod:`roadwork.risk_control.levels` takes them from another set.

Every group (drive) that has an accepted image has one vote at a level, the share of its accepted
images that are answered wrongly. What is bounded is therefore the error of an accepted image that
is drawn from a group that was drawn first, among groups that have one.

Applying a threshold needs numpy and pydantic only.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field

from roadwork import POSITIVE
from roadwork.calibration.base import check_labels, check_probabilities
from roadwork.cascade.learn_then_test import (
    GroupVotes,
    binomial_p_value,
    fixed_sequence,
    hoeffding_bentkus_p_value,
    votes_needed,
)
from roadwork.errors import DataError

__all__ = ["DeferPromise", "DeferThreshold", "groups_needed"]

_MOST = 10**7  # groups that are ever asked for


class DeferPromise(BaseModel):
    """What answers that stand alone may cost, with confidence ``1 - delta``.

    Attributes:
        max_error: bound of the share of accepted images that are answered wrongly.
        max_missed: bound of the share of accepted images *of roadwork* that are answered
            otherwise; None promises nothing there.
        delta: probability that either is broken.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    max_error: float = Field(gt=0, lt=1)
    max_missed: float | None = Field(default=None, gt=0, lt=1)
    delta: float = Field(default=0.1, gt=0, lt=1)

    @property
    def votes_needed(self) -> tuple[int, int]:
        """Fewest accepted groups, and such with roadwork, for any threshold: without an error."""
        missed = self.max_missed
        return (
            votes_needed(self.max_error, self.delta),
            0 if missed is None else votes_needed(missed, self.delta),
        )


class DeferThreshold(BaseModel):
    """From which confidence on an answer stands alone; frozen, and exact through JSON.

    Attributes:
        method: how it was found.
        threshold: least confidence (largest probability) of an accepted answer; None accepts none.
        promise: what was asked of the fit.
        n: images that it was fitted on.
        groups: groups among them.
        accepted: share of the images that it accepts.
        votes: groups with an accepted image.
        needed: where no threshold was certified: about how many groups would certify the level
            that was tried first, if its errors stayed as frequent; None: no number would, or none
            is missing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    method: Literal["learn_then_test", "sgr"] = "learn_then_test"
    threshold: float | None = Field(ge=0, le=1)
    promise: DeferPromise
    n: int = Field(ge=1)
    groups: int = Field(ge=1)
    accepted: float = Field(ge=0, le=1)
    votes: int = Field(ge=0)
    needed: int | None = Field(default=None, ge=1)

    @classmethod
    def fit(
        cls,
        probabilities: ArrayLike,
        labels: ArrayLike,
        levels: ArrayLike,
        groups: ArrayLike | None = None,
        *,
        promise: DeferPromise,
    ) -> Self:
        """The loosest level that Learn then Test certifies on the way from the strictest.

        Args:
            probabilities: (N, K) calibrated probabilities, of images that neither the network nor
                the calibrator was fitted on.
            labels: (N,) true classes.
            levels: (J,) confidences to try, falling, fixed without these labels.
            groups: (N,) group of every image; without, every image is a group of its own.
            promise: what errors may cost.

        Raises:
            DataError: the arrays break the contract, or the levels do not fall.
        """
        table = check_probabilities(probabilities)
        truth = check_labels(labels, *table.shape)
        tried = np.asarray(levels, dtype=np.float64)
        if tried.ndim != 1 or not len(tried) or (np.diff(tried) >= 0).any():
            raise DataError("levels must be confidences that fall from the strictest on.")
        confidence, wrong = table.max(axis=1), table.argmax(axis=1) != truth
        everyone = GroupVotes.of(groups, np.ones(len(truth), dtype=np.bool_)).n
        codes = None if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
        seen: list[_Level] = []
        for level in tried:
            seen.append(_Level.of(confidence >= level, wrong, truth == POSITIVE, codes, promise))
            if seen[-1].p_value > promise.delta:
                break
        certified = fixed_sequence([level.p_value for level in seen], promise.delta)
        last = seen[certified - 1] if certified else None
        return cls(
            threshold=float(tried[certified - 1]) if certified else None,
            promise=promise,
            n=len(truth),
            groups=everyone,
            accepted=last.accepted if last else 0.0,
            votes=last.votes if last else 0,
            needed=None if certified else _needed(seen[0], everyone, promise),
        )

    @property
    def feasible(self) -> bool:
        """Whether any answer may stand alone."""
        return self.threshold is not None

    def accepts(self, probabilities: ArrayLike) -> NDArray[np.bool_]:
        """Whether each answer (N,) stands alone, for calibrated probabilities (N, K).

        Raises:
            DataError: no probabilities.
        """
        confidence = check_probabilities(probabilities).max(axis=1)
        return confidence >= (np.inf if self.threshold is None else self.threshold)

    @property
    def guarantee(self) -> str:
        """What holds, for whom, and from how many groups; or what is missing."""
        asked = self.promise
        sure = f"{100 * (1 - asked.delta):.6g} %"
        bounds = f"at most {100 * asked.max_error:.6g} % of them are answered wrongly"
        if asked.max_missed is not None:
            bounds += (
                f", and of those of roadwork at most {100 * asked.max_missed:.6g} % are missed"
            )
        if self.threshold is None:
            groups, showing = asked.votes_needed
            also = f", {showing} of them with roadwork" if showing else ""
            more = (
                "Errors were not rare enough at the level tried first: more groups would not help."
                if self.needed is None
                else f"About {self.needed} groups would do if errors stayed as frequent as seen."
            )
            return (
                f"From {self.n} images of {self.groups} groups no confidence could be certified at "
                f"{sure} confidence from which on {bounds}: every answer is deferred. Even without "
                f"an error it takes {groups} groups with an accepted image{also}. {more}"
            )
        return (
            f"With {sure} confidence over the draw of {self.n} images of {self.groups} groups: of "
            f"images whose confidence is at least {self.threshold:.4g}, {bounds}, on average over "
            f"new groups exchangeable with the {self.votes} that have such images."
        )


def groups_needed(rate: float, bound: float, delta: float, single: bool = True) -> int | None:
    """Fewest votes, about, that reject "the risk is above ``bound``" at an error rate below it.

    Args:
        rate: share of errors, as it was seen.
        bound: in (0, 1).
        delta: of the test.
        single: votes are 0 or 1, and the test is binomial; otherwise Hoeffding's and Bentkus'.

    Returns:
        None where the rate is not below the bound, or more than ten million would be needed.
    """
    if rate >= bound:
        return None

    def enough(n: int) -> bool:
        if single:
            return bool(binomial_p_value(np.floor(rate * n + 1e-9), n, bound) <= delta)
        return bool(hoeffding_bentkus_p_value(rate * n, n, bound) <= delta)

    high = votes_needed(bound, delta)
    while not enough(high):
        high *= 2
        if high > _MOST:
            return None
    low = high // 2
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


class _Level(NamedTuple):
    """What was seen at one level."""

    accepted: float
    votes: int
    rate: float
    roadwork_votes: int
    missed_rate: float
    p_value: float
    single: bool

    @classmethod
    def of(
        cls,
        accepted: NDArray[np.bool_],
        wrong: NDArray[np.bool_],
        roadwork: NDArray[np.bool_],
        groups: ArrayLike | None,
        promise: DeferPromise,
    ) -> Self:
        at_once = np.zeros(len(wrong), dtype=np.int64)
        everyone = GroupVotes.of(groups, accepted)
        p_value = float(everyone.p_values(wrong, at_once, 1, promise.max_error)[0])
        showing = GroupVotes.of(groups, accepted & roadwork)
        if promise.max_missed is not None:
            # "One of the two risks is too high" is rejected where both are.
            missed = showing.p_values(wrong, at_once, 1, promise.max_missed)[0]
            p_value = max(p_value, float(missed))
        return cls(
            accepted=float(accepted.mean()),
            votes=everyone.n,
            rate=float(everyone.weights[wrong].sum() / max(1, everyone.n)),
            roadwork_votes=showing.n,
            missed_rate=float(showing.weights[wrong].sum() / max(1, showing.n)),
            p_value=p_value,
            single=everyone.single,
        )


def _needed(first: _Level, groups: int, promise: DeferPromise) -> int | None:
    """About how many groups would certify the level at which the way begins."""
    tests = [(first.votes, first.rate, promise.max_error)]
    if promise.max_missed is not None:
        tests.append((first.roadwork_votes, first.missed_rate, promise.max_missed))
    totals = [
        None if not had else groups_needed(rate, bound, promise.delta, first.single)
        for had, rate, bound in tests
    ]
    shares = [had / groups for had, _, _ in tests]
    known = [
        math.ceil(total / share - 1e-9)
        for total, share in zip(totals, shares, strict=True)
        if total is not None
    ]
    return max(known) if len(known) == len(tests) else None
