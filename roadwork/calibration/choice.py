"""Choosing a calibrator by cross-validation over the groups of the calibration set.

Every method is fitted on all folds but one and judged on that one, so that each row is judged once
by a map that has not seen its group. The method with the least negative log-likelihood sets the
mark; the simplest method whose loss is within one standard error of it is chosen (Breiman et al.,
"Classification and Regression Trees", 1984, the one-standard-error rule), with the standard error
taken over groups and of the difference to the best, row by row. "Simplest" is the order of the
registry. No calibration at all is the baseline and not a candidate: it is chosen only if no
candidate has a smaller loss than it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, TypeVar

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict, Field, Strict

from roadwork.calibration import CALIBRATORS, Fit
from roadwork.calibration.base import (
    FloatArray,
    IntArray,
    check_labels,
    check_matrix,
    log_softmax,
    require_classes,
)
from roadwork.calibration.binning import expected_calibration_error
from roadwork.calibration.folds import deal_groups, most_folds
from roadwork.errors import ConfigError, DataError, TrainingError

__all__ = [
    "BASELINE",
    "FOLDS",
    "CalibratorComparison",
    "MethodResult",
    "compare_calibrators",
    "grouped_standard_error",
]

BASELINE = "identity"
FALLBACK = "temperature"
FOLDS = 5
NAMED = "the settings name this method"

Item = TypeVar("Item")
Several = Annotated[tuple[Item, ...], Strict(False)]


class Record(BaseModel):
    """Base of both records: frozen, strict, exact through JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class MethodResult(Record):
    """One method, judged on rows that its maps have not seen.

    Attributes:
        method: key of ``CALIBRATORS``.
        title: words for people.
        nll: mean negative log-likelihood in nats.
        brier: half the mean sum over classes of (p - y)^2: mean (p - y)^2 of class 1 when K is 2.
        ece: expected calibration error of P(y = 1) over 15 equal bins; mean over classes if K > 2.
        excess: ``nll`` less that of the best method.
        standard_error: of ``excess``, over groups.
        refused: why the method could not be judged; the figures are None then.
    """

    method: str
    title: str
    nll: float | None = None
    brier: float | None = None
    ece: float | None = None
    excess: float | None = None
    standard_error: float | None = None
    refused: str | None = None


class CalibratorComparison(Record):
    """What every method would do to the calibration set, and which was taken.

    Attributes:
        asked: the method of the settings, "auto" for a choice.
        chosen: key of ``CALIBRATORS``.
        why: the reason, in a sentence.
        folds: of the cross-validation; 0 where there was none.
        n: rows.
        n_groups: groups.
        results: from the simplest method to the most flexible one, which is the order that ties
            are decided by; the first is no calibration, the "before" of every other.
    """

    asked: str
    chosen: str
    why: str
    folds: int = Field(ge=0)
    n: int = Field(ge=1)
    n_groups: int = Field(ge=1)
    results: Several[MethodResult]

    @property
    def markdown(self) -> str:
        """The comparison as a table, with the choice below it."""
        lines = ["| Method | Log-loss | Brier | ECE | Behind the best |", "|---|---|---|---|---|"]
        for found in self.results:
            if found.refused is not None:
                lines.append(f"| {found.title} | {found.refused} | | | |")
                continue
            behind = f"{found.excess:.4f} ± {found.standard_error:.4f}"
            lines.append(
                f"| {found.title} | {found.nll:.4f} | {found.brier:.4f} | {found.ece:.4f} "
                f"| {behind} |"
            )
        judged = f"{self.n} images of {self.n_groups} groups, {self.folds} folds by group"
        return "\n".join([*lines, "", f"{judged}. Taken: {self.chosen}, {self.why}.", ""])

    def result(self, method: str) -> MethodResult | None:
        """The figures of a method, or None."""
        return next((found for found in self.results if found.method == method), None)


def compare_calibrators(
    logits: ArrayLike,
    labels: ArrayLike,
    groups: ArrayLike,
    *,
    asked: str = "auto",
    methods: Sequence[str] | None = None,
    folds: int = FOLDS,
    seed: int = 0,
) -> CalibratorComparison:
    """Judge calibrators by cross-validation within one set, and choose.

    With fewer groups of the rarest class than folds there are as many folds as such groups; with
    fewer than two nothing can be judged and temperature scaling, one number, is taken.

    Args:
        logits: (N, K).
        labels: (N,).
        groups: (N,) group of every row.
        asked: "auto", or the method that is taken whatever the comparison says.
        methods: keys of ``CALIBRATORS``, by default all; the baseline is always judged.
        folds: at least 2.
        seed: of the dealing of groups.

    Raises:
        ConfigError: an unknown method, or fewer than two folds.
        DataError: the arrays break the contract, or all labels are of one class and "auto" is
            asked.
    """
    wanted = tuple(CALIBRATORS) if methods is None else tuple(methods)
    wanted = wanted if asked in ("auto", *wanted) else (*wanted, asked)
    unknown = [name for name in wanted if name not in CALIBRATORS]
    if unknown or folds < 2:
        raise ConfigError(
            f"unknown calibrators {', '.join(unknown)}; known are {', '.join(CALIBRATORS)}."
            if unknown
            else f"{folds} folds cannot judge a calibrator: at least 2 are needed"
        )
    scores = check_matrix(logits, "logits")
    classes = check_labels(labels, *scores.shape)
    if asked == "auto":
        require_classes(classes, "calibrator")
    names = np.asarray(groups)
    if names.shape != classes.shape:
        raise DataError(f"groups must have shape {classes.shape}, not {names.shape}.")
    codes = np.unique(names, return_inverse=True)[1].reshape(-1)
    count = min(folds, most_folds(classes, names))
    made = partial(CalibratorComparison, asked=asked, n=len(classes), n_groups=int(codes.max()) + 1)
    if count < 2:
        alone = "only one group holds some class: no method can be judged on other groups"
        why = f"{alone}, and one number is the least that can be fitted"
        chosen, why = (FALLBACK, why) if asked == "auto" else (asked, NAMED)
        return made(chosen=chosen, why=why, folds=0, results=())
    place = deal_groups(classes, names, count, seed)
    order = [name for name in CALIBRATORS if name == BASELINE or name in wanted]
    held_out: dict[str, FloatArray] = {}
    refused: dict[str, str] = {}
    for name in order:
        try:
            held_out[name] = _held_out(CALIBRATORS[name].fit, scores, classes, names, place, count)
        except (ConfigError, DataError, TrainingError) as error:
            refused[name] = str(error)
    rows = np.arange(len(classes))
    losses = {name: -found[rows, classes] for name, found in held_out.items()}
    means = {name: float(loss.mean()) for name, loss in losses.items()}
    best = min(means, key=lambda name: (means[name], order.index(name)))
    errors = {
        name: grouped_standard_error(loss - losses[best], codes) for name, loss in losses.items()
    }
    figures = {name: _figures(np.exp(found), classes) for name, found in held_out.items()}
    results = [
        MethodResult(method=name, title=CALIBRATORS[name].title, refused=refused[name])
        if name in refused
        else MethodResult(
            method=name,
            title=CALIBRATORS[name].title,
            nll=means[name],
            excess=means[name] - means[best],
            standard_error=errors[name],
            brier=figures[name][0],
            ece=figures[name][1],
        )
        for name in order
    ]
    chosen, why = _choose(means, errors, best) if asked == "auto" else (asked, NAMED)
    return made(chosen=chosen, why=why, folds=count, results=tuple(results))


def grouped_standard_error(values: FloatArray, codes: IntArray) -> float:
    """Standard error of the mean of values (N,), whose rows depend on each other within groups.

    ``sqrt(G / (G - 1) * sum_g (sum of (v - mean) in g)^2) / N``: the variance of a mean of
    clusters, by linearisation. Infinite with fewer than two groups.
    """
    groups = int(codes.max()) + 1
    if groups < 2:
        return float("inf")
    sums = np.bincount(codes, weights=values - values.mean(), minlength=groups)
    return float(np.sqrt(groups / (groups - 1) * (sums**2).sum()) / len(values))


def _held_out(
    fit: Fit,
    scores: FloatArray,
    labels: IntArray,
    groups: np.ndarray,
    place: IntArray,
    folds: int,
) -> FloatArray:
    """Log probabilities (N, K) of maps that have not seen the row's group."""
    found = np.empty(scores.shape)
    for number in range(folds):
        held = place == number
        model = fit(scores[~held], labels[~held], groups[~held])
        found[held] = log_softmax(model.calibrated(scores[held]))
    return found


def _figures(probabilities: FloatArray, labels: IntArray) -> tuple[float, float]:
    """Brier score and expected calibration error."""
    k = probabilities.shape[1]
    truth = np.eye(k)[labels]
    brier = float(((probabilities - truth) ** 2).sum(axis=1).mean()) / 2
    classes = (1,) if k == 2 else range(k)
    errors = [expected_calibration_error(probabilities[:, c], truth[:, c]) for c in classes]
    return brier, float(np.mean(errors))


def _choose(means: Mapping[str, float], errors: Mapping[str, float], best: str) -> tuple[str, str]:
    """The simplest candidate within one standard error of the best, and why."""
    if list(means) == [BASELINE]:
        return BASELINE, "no other method could be judged"
    if best == BASELINE:
        return BASELINE, "no method has a smaller cross-validated log-loss than no calibration"
    near = [
        name for name in means if name != BASELINE and means[name] - means[best] <= errors[name]
    ]
    chosen = near[0]
    if chosen == best:
        return chosen, "the least cross-validated log-loss, and no simpler method comes near it"
    return chosen, (
        f"the simplest method whose cross-validated log-loss ({means[chosen]:.4f}) is within one "
        f"standard error ({errors[chosen]:.4f}) of the least, {means[best]:.4f} of {best}"
    )
