"""From the answers of a simulation to its report: rewards, intervals, parts, thresholds, ranks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roadwork.calibration.base import FloatArray
from roadwork.evaluation.streetvision.augmentation import LEVELS
from roadwork.evaluation.streetvision.record import (
    EarningsDifference,
    ModelEarnings,
    Part,
    StreetVisionReport,
    ThresholdChoice,
)
from roadwork.evaluation.streetvision.replay import Replayed, Sequences, replay, resample_groups
from roadwork.evaluation.streetvision.reward import (
    MCC_WINDOW,
    RewardHistory,
    decide,
    matthews,
    reward_paths,
)
from roadwork.evaluation.streetvision.threshold import (
    best_threshold,
    crossed_thresholds,
    halve_groups,
    logit,
)

__all__ = ["RESAMPLES", "Answers", "summarise"]

RESAMPLES = 1000
_PART_SEQUENCES = 40
_FEW_GROUPS = 20

Interval = tuple[float | None, float | None]


@dataclass(frozen=True, eq=False)
class Answers:
    """The answers of every model to every challenge, S seeds of T challenges.

    Attributes:
        probabilities: by model, (S, T).
        labels: (S, T) zeros and ones.
        levels: (S, T) levels of augmentation.
        synthetic: (S, T), whether the picture was from the synthetic set.
        groups: (S, T) group numbers 0..G-1, each of which occurs.
    """

    probabilities: Mapping[str, FloatArray]
    labels: NDArray[np.int64]
    levels: NDArray[np.int64]
    synthetic: NDArray[np.bool_]
    groups: NDArray[np.int64]

    @property
    def n_groups(self) -> int:
        """How many groups occur."""
        return int(self.groups.max()) + 1


@dataclass(frozen=True, eq=False)
class _Crossed:
    """Decisions (S, T) by thresholds of the other half of the groups; those at 0.5 without."""

    decisions: NDArray[np.bool_]
    thresholds: tuple[float, float] | None


def summarise(
    answers: Answers,
    *,
    photographs: int,
    synthetic_pictures: int = 0,
    synthetic_share: float = 0.0,
    resamples: int = RESAMPLES,
) -> StreetVisionReport:
    """The report of a simulation.

    Args:
        answers: of all models.
        photographs: how many there were to draw from.
        synthetic_pictures: how many synthetic ones.
        synthetic_share: their share of the challenges.
        resamples: bootstrap resamples over groups.
    """
    names = list(answers.probabilities)
    seeds, challenges = answers.labels.shape
    plain = [decide(given) for given in answers.probabilities.values()]
    halves = halve_groups(answers.groups.ravel(), answers.labels.ravel(), seed=0)
    crossed = [_cross(given, answers, halves) for given in answers.probabilities.values()]
    replayed = resample_groups(
        np.stack([said.ravel() for said in (*plain, *(one.decisions for one in crossed))]),
        answers.labels.ravel(),
        answers.groups.ravel(),
        Sequences(seeds, challenges),
        resamples if answers.n_groups > 1 else 0,
        seed=0,
    )
    reason = _no_interval(replayed, answers.n_groups, resamples)
    draws = replayed.rewards if reason is None else None
    models = []
    for k, name in enumerate(names):
        gain = _percentiles(draws, len(names) + k, less=k)
        threshold = _threshold(answers, name, plain[k], crossed[k], gain, reason)
        models.append(_earnings(answers, name, plain[k], _percentiles(draws, k), threshold))
    order = sorted(range(len(names)), key=lambda k: (-models[k].reward, names[k]))
    best = order[0]
    differences = []
    for k in order[1:]:
        low, high = _percentiles(draws, k, less=best)
        difference = models[k].reward - models[best].reward
        differences.append(
            EarningsDifference(
                name=names[k], best=names[best], difference=difference, low=low, high=high
            )
        )
    return StreetVisionReport(
        challenges=challenges,
        seeds=seeds,
        warm_up=MCC_WINDOW,
        photographs=photographs,
        synthetic_pictures=synthetic_pictures,
        synthetic_share=synthetic_share,
        groups=answers.n_groups,
        resamples=resamples,
        skipped=replayed.skipped,
        reason=reason,
        models=tuple(models[k] for k in order),
        differences=tuple(differences),
        notes=_notes(answers.n_groups, synthetic_pictures),
    )


def _mean_reward(decisions: NDArray[np.bool_], labels: NDArray[np.int64]) -> FloatArray:
    """Mean reward of each seed (S,) after the first 100 challenges."""
    return reward_paths(decisions, labels)[:, MCC_WINDOW:].mean(axis=1)


def _cross(given: FloatArray, answers: Answers, halves: NDArray[np.int64] | None) -> _Crossed:
    if halves is None:
        return _Crossed(decide(given), None)
    half_of = halves[answers.groups]
    thresholds = crossed_thresholds(given.ravel(), answers.labels.ravel(), half_of.ravel())
    return _Crossed(decide(given, np.array(thresholds)[half_of]), thresholds)


def _threshold(
    answers: Answers,
    name: str,
    plain: NDArray[np.bool_],
    crossed: _Crossed,
    interval: Interval,
    reason: str | None,
) -> ThresholdChoice:
    given = answers.probabilities[name]
    threshold = best_threshold(given.ravel(), answers.labels.ravel())
    gain = None
    if crossed.thresholds is None:
        interval = (None, None)
        reason = "no gain: the groups cannot be halved so that both halves hold both labels"
    else:
        rewards = (_mean_reward(said, answers.labels) for said in (crossed.decisions, plain))
        gain = float(next(rewards).mean() - next(rewards).mean())
    return ThresholdChoice(
        threshold=threshold,
        shift=-float(logit(threshold)),
        halves=crossed.thresholds,
        gain=gain,
        low=interval[0],
        high=interval[1],
        reason=reason,
    )


def _earnings(
    answers: Answers,
    name: str,
    said: NDArray[np.bool_],
    interval: Interval,
    threshold: ThresholdChoice,
) -> ModelEarnings:
    by_seed, scores = [], []
    for row, labels in zip(answers.probabilities[name], answers.labels, strict=True):
        history = RewardHistory()
        earned = [history.add(float(p), int(y)) for p, y in zip(row, labels, strict=True)]
        by_seed.append(float(np.mean([one.reward for one in earned[MCC_WINDOW:]])))
        scores.append(history.score)
    levels = [
        _part(f"{number} {level.title}", said, answers, answers.levels == number)
        for number, level in enumerate(LEVELS)
    ]
    origins = [
        _part(title, said, answers, answers.synthetic == synthetic)
        for title, synthetic in (("photographs", False), ("synthetic pictures", True))
    ]
    whole = _part("all", said, answers, np.ones_like(said))
    return ModelEarnings(
        name=name,
        reward=float(np.mean(by_seed)),
        low=interval[0],
        high=interval[1],
        by_seed=tuple(by_seed),
        score=float(np.mean(scores)),
        mcc=whole.mcc,
        accuracy=float((said == (answers.labels == 1)).mean()),
        levels=tuple(levels),
        origins=tuple(origin for origin in origins if origin.challenges),
        threshold=threshold,
    )


def _part(name: str, said: NDArray[np.bool_], answers: Answers, where: NDArray[np.bool_]) -> Part:
    labels, decisions = answers.labels[where], said[where]
    truth = labels == 1
    cells = [
        int((truth_is & said_is).sum())
        for truth_is in (truth, ~truth)
        for said_is in (decisions, ~decisions)
    ]
    mcc = float(matthews(*cells))
    sequences = Sequences(_PART_SEQUENCES, answers.labels.shape[1])
    reward = replay(decisions[None], labels, sequences, seed=0)
    return Part(
        name=name,
        challenges=len(labels),
        mcc=None if np.isnan(mcc) else mcc,
        accuracy=float((decisions == truth).mean()) if len(labels) else None,
        reward=None if reward is None else float(reward[0]),
    )


def _percentiles(draws: FloatArray | None, k: int, less: int | None = None) -> Interval:
    """95 % of the resampled rewards of column k, or of their differences to another column."""
    if draws is None:
        return None, None
    values = draws[:, k] if less is None else draws[:, k] - draws[:, less]
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def _no_interval(replayed: Replayed, n_groups: int, resamples: int) -> str | None:
    if n_groups < 2:
        return "no interval: a single group cannot be resampled"
    if replayed.skipped > resamples / 2:
        return f"no interval: {replayed.skipped} of {resamples} resamples lacked a class"
    return None


def _notes(n_groups: int, synthetic_pictures: int) -> tuple[str, ...]:
    notes = []
    if not synthetic_pictures:
        notes.append(
            "Every challenge shows one of your photographs. Half of a validator's challenges show "
            "pictures from its diffusion models; what a model earns on them is not known here."
        )
    if n_groups < _FEW_GROUPS:
        notes.append(
            f"The challenges show {n_groups} groups of photographs: intervals over so few groups "
            "are too narrow."
        )
    return tuple(notes)
