"""The exit policy: which photographs the first stage answers, and what that may cost.

Answer "none" at once where stage 1's calibrated probability is at most ``low``, "roadwork" where it
is at least ``high``; otherwise stage 2 answers. The exits are the widest for which Learn then Test
(:mod:`roadwork.cascade.learn_then_test`) rejects, with confidence 1 - delta, that they cost more
than was allowed, measured against always running stage 2.

What is counted is **harm**: stage 1 answers wrongly what stage 2 would have answered rightly.
The loss of accuracy is harm less what stage 1 alone gets right, so it is at most the harm; and the
harm is an event, for which exact tests exist. Both errors and both stages are judged by decisions;
a person who would have been asked after stage 2 does not count as a right answer.

Applying a policy needs numpy and pydantic only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from roadwork.calibration.base import FloatArray, IntArray, check_labels, check_probabilities
from roadwork.cascade.exit_paths import CONFIDENCE_LEVELS, EXIT_PATHS, PathName
from roadwork.cascade.learn_then_test import GroupVotes, fixed_sequence, votes_needed
from roadwork.errors import ConfigError, DataError

__all__ = ["Answers", "ExitPolicy", "ExitPromise"]


class ExitPromise(BaseModel):
    """What the exits may cost, of images of a new group, with confidence ``1 - delta``.

    Attributes:
        max_accuracy_loss: bound of the harm, and so of the loss of accuracy.
        max_recall_loss: bound of the harm among images of roadwork; None promises nothing there.
        max_wrong: bound of the share of all images that stage 2 is passed and answers wrongly;
            None lets every answer of stage 2 stand.
        delta: probability that any of these promises is broken.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    max_accuracy_loss: float = Field(default=0.005, gt=0, lt=1)
    max_recall_loss: float | None = Field(default=0.01, gt=0, lt=1)
    max_wrong: float | None = Field(default=None, gt=0, lt=1)
    delta: float = Field(default=0.1, gt=0, lt=1)

    @property
    def delta_each(self) -> float:
        """Of the test of the exits, and of that of the defer rule: their sum is delta."""
        return self.delta if self.max_wrong is None else self.delta / 2

    @property
    def votes_needed(self) -> tuple[int, int]:
        """Fewest groups, and groups that show roadwork, for any exit: if none does any harm."""
        recall = self.max_recall_loss
        return (
            votes_needed(self.max_accuracy_loss, self.delta_each),
            0 if recall is None else votes_needed(recall, self.delta_each),
        )


@dataclass(frozen=True, eq=False)
class Answers:
    """What a cascade says to N photographs: label, stage (1 or 2), P(roadwork), ask a person."""

    labels: IntArray
    stages: IntArray
    probabilities: FloatArray
    deferred: NDArray[np.bool_]


class ExitPolicy(BaseModel):
    """Exits and a defer rule; frozen, and exact through JSON.

    Attributes:
        low: stage 1 answers "none" up to this probability of roadwork; None for never.
        high: stage 1 answers "roadwork" from this one on; None for never.
        answer_from: stage 2's answer stands from this confidence (its larger probability) on, and
            a less confident one goes to a person; 0.5 lets all stand, None none.
        promise: what was asked of the fit.
        path: a key of ``EXIT_PATHS``.
        n: images that it was fitted on.
        votes: groups among them; each had one vote.
        roadwork_votes: groups that show roadwork.
        exited: share of the images that stage 1 answers, each group with one vote.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    method: Literal["learn_then_test"] = "learn_then_test"
    low: float | None = Field(gt=0, lt=1)
    high: float | None = Field(gt=0, lt=1)
    answer_from: float | None = Field(ge=0.5, lt=1)
    promise: ExitPromise
    path: PathName
    n: int = Field(ge=1)
    votes: int = Field(ge=1)
    roadwork_votes: int = Field(ge=0)
    exited: float = Field(ge=0, le=1)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise ValueError(f"the exits {self.low} and {self.high} are not in order")
        return self

    @classmethod
    def fit(
        cls,
        first: ArrayLike,
        second: ArrayLike,
        labels: ArrayLike,
        groups: ArrayLike | None = None,
        *,
        promise: ExitPromise,
        path: PathName = "two_sided",
    ) -> Self:
        """The widest exits, and the least defer rule, that keep the promise.

        If no exits can be certified, mostly because groups are too few, the policy never exits.
        Even without any harm a bound b takes log(delta) / log(1 - b) groups: 460 for 0.005 at
        delta 0.1 (:attr:`ExitPromise.votes_needed`).

        Args:
            first: (N, 2) calibrated probabilities of stage 1, of images that neither the network
                nor the calibrators were fitted on.
            second: (N, 2) calibrated probabilities of stage 2.
            labels: (N,) true classes.
            groups: (N,) group of every image; without, every image is a group of its own.
            promise: what the exits may cost.
            path: a key of ``EXIT_PATHS``, chosen without these labels.

        Raises:
            DataError: the arrays break the contract.
            ConfigError: there is no such path.
        """
        p1, p2 = _pair(first, second)
        truth = check_labels(labels, len(p1), 2)
        if path not in EXIT_PATHS:
            raise ConfigError(f"there is no exit path {path!r}; known are {', '.join(EXIT_PATHS)}")
        exits = EXIT_PATHS[path]
        step, steps = exits.step(p1), len(exits.low)
        wrong = p2.argmax(axis=1) != truth
        harm = ((p1 > 0.5) != truth) & ~wrong
        everyone = GroupVotes.of(groups, np.ones(len(truth), dtype=np.bool_))
        positives = GroupVotes.of(groups, truth == 1)
        tests = everyone.p_values(harm, step, steps, promise.max_accuracy_loss)
        if promise.max_recall_loss is not None:
            recall = positives.p_values(harm, step, steps, promise.max_recall_loss)
            # "One of the two risks is too high" is rejected where both are.
            tests = np.maximum(tests, recall)
        certified = fixed_sequence(tests, promise.delta_each)
        low = exits.low[certified - 1] if certified else -np.inf
        high = exits.high[certified - 1] if certified else np.inf
        return cls(
            low=float(low) if np.isfinite(low) else None,
            high=float(high) if np.isfinite(high) else None,
            answer_from=_answer_from(_confidence(p2), wrong, everyone, promise),
            promise=promise,
            path=path,
            n=len(truth),
            votes=everyone.n,
            roadwork_votes=positives.n,
            exited=min(1.0, float(everyone.weights[step < certified].sum() / everyone.n)),
        )

    @property
    def feasible(self) -> bool:
        """Whether stage 1 may answer anything."""
        return self.low is not None or self.high is not None

    def exits(self, first: ArrayLike) -> NDArray[np.bool_]:
        """Whether stage 1 answers, (N,), for its calibrated probabilities (N, 2).

        Raises:
            DataError: no probabilities of two classes.
        """
        p = _of_two(first, "first")[:, 1]
        return (p <= _or(self.low, -np.inf)) | (p >= _or(self.high, np.inf))

    def decide(self, first: ArrayLike, second: ArrayLike) -> Answers:
        """Answers to N photographs from both stages' calibrated probabilities, (N, 2) each.

        Rows of ``second`` where stage 1 answers are not looked at, except that they must be
        probabilities. A tie of stage 2 is "none".

        Raises:
            DataError: no probabilities of two classes, or of different numbers of photographs.
        """
        p1, p2 = _pair(first, second)
        at_once = self.exits(first)
        unsure = _confidence(p2) < _or(self.answer_from, np.inf)
        return Answers(
            labels=np.where(at_once, p1 >= _or(self.high, np.inf), p2.argmax(axis=1)).astype(
                np.int64
            ),
            stages=np.where(at_once, 1, 2),
            probabilities=np.where(at_once, p1, p2[:, 1]),
            deferred=~at_once & unsure,
        )

    @property
    def guarantee(self) -> str:
        """What holds, for whom, and from how many groups."""
        asked, sure = self.promise, f"{100 * (1 - self.promise.delta):.6g} %"
        source = (
            f"{self.n} images in {self.votes} groups, of which {self.roadwork_votes} show roadwork"
        )
        recall = asked.max_recall_loss
        bounds = f"at most {100 * asked.max_accuracy_loss:.6g} % of the images of a new group"
        if recall is not None:
            bounds += f", and at most {100 * recall:.6g} % of its images of roadwork,"
        deferring = ""
        if asked.max_wrong is not None:
            deferring = (
                f" Answers of stage 2 below confidence {self.answer_from:.4g} go to a person: at "
                f"most {100 * asked.max_wrong:.6g} % of all images are passed on and then answered "
                "wrongly."
                if self.answer_from is not None
                else " No confidence of stage 2 could be certified: all it gets goes to a person."
            )
        if not self.feasible:
            return (
                f"From {source} no exit could be certified at {sure} confidence that harms "
                f"{bounds} on average: no image exits at stage 1. {self._missing}{deferring}"
            )
        return (
            f"With {sure} confidence over the draw of {source}, the early exits make wrong what "
            f"stage 2 would have answered rightly on {bounds} on average over groups that are "
            f"exchangeable with these.{deferring}"
        )

    @property
    def _missing(self) -> str:
        """Why nothing could be certified: too few groups, or harm at the safest exit."""
        groups, showing = self.promise.votes_needed
        if self.votes >= groups and self.roadwork_votes >= showing:
            return "The groups would have sufficed; already the safest exits did too much harm."
        also = f", {showing} of them with roadwork" if showing else ""
        return f"Even if no exit did any harm, this promise would take {groups} groups{also}."


def _answer_from(
    confidence: FloatArray, wrong: NDArray[np.bool_], votes: GroupVotes, promise: ExitPromise
) -> float | None:
    """The least certified confidence of stage 2.

    The event, wrong with at least this confidence, does not depend on the exits, and contains the
    event of being passed on as well: so its bound holds whichever exits were chosen.
    """
    if promise.max_wrong is None:
        return 0.5
    reached = np.searchsorted(-CONFIDENCE_LEVELS, -confidence, side="left")
    tests = votes.p_values(wrong, reached, len(CONFIDENCE_LEVELS), promise.max_wrong)
    certified = fixed_sequence(tests, promise.delta_each)
    return float(CONFIDENCE_LEVELS[certified - 1]) if certified else None


def _of_two(values: ArrayLike, name: str) -> FloatArray:
    table = check_probabilities(values, f"{name} probabilities")
    if table.shape[1] != 2:
        raise DataError(f"a cascade decides between two classes, not {table.shape[1]}")
    return table


def _pair(first: ArrayLike, second: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """P(roadwork) of stage 1, (N,), and the probabilities of stage 2, (N, 2)."""
    one, two = _of_two(first, "first"), _of_two(second, "second")
    if len(one) != len(two):
        raise DataError(f"stage 1 answers {len(one)} images and stage 2 {len(two)}: pass the same")
    return one[:, 1], two


def _confidence(table: FloatArray) -> FloatArray:
    """The larger probability, (N,); rows may sum to a little less than 1, so at least one half."""
    return np.maximum(table.max(axis=1), 0.5)


def _or(value: float | None, never: float) -> float:
    return never if value is None else value
