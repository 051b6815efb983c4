"""What a cascade would cost and be worth, for every exit, from both stages' scores of one set.

Stage 1 answers the images whose confidence (its larger probability) is at least a cut; images of
equal confidence go together. One pass over the images in falling confidence gives every cut: each
image that crosses moves its outcome from stage 2's to stage 1's. Functions of row weights (B, N)
return one row of values a row of weights, so that a group bootstrap is one call.

A curve shows what happened on these images. It promises nothing: cuts for use come from
:mod:`roadwork.cascade.fitted`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Strict

from roadwork.calibration.base import FloatArray
from roadwork.errors import DataError
from roadwork.evaluation.ranking import largest_recall, recall_at
from roadwork.evaluation.scored import Ranking, ScoredSet, ratio
from roadwork.evaluation.sorted_pass import SortedPass

__all__ = [
    "CascadeCurve",
    "CascadeScores",
    "ExitTable",
    "cascade_curve",
    "exit_table",
    "fewest_views",
    "recall_at_precision",
]

# Accuracies are sums of weights over their total; equal ones may differ in the last digit.
_SLACK = 1e-12
_BLOCK = 2**22  # numbers of one block of weights, 32 MB


@dataclass(frozen=True, eq=False)
class CascadeScores:
    """Both stages' calibrated probabilities for the same images, of two classes.

    Raises:
        DataError: other labels, another number of images or of classes.
    """

    first: ScoredSet
    second: ScoredSet

    def __post_init__(self) -> None:
        """Check that both belong together."""
        if self.first.n_classes != 2 or self.second.n_classes != 2:
            raise DataError("a cascade decides between two classes")
        if not np.array_equal(self.first.labels, self.second.labels):
            raise DataError("both stages must be scored on the same images, in the same order")


@dataclass(frozen=True, eq=False)
class ExitTable:
    """Figures for U + 1 cuts, from none answered at stage 1 to all.

    Attributes:
        cuts: (U + 1,) confidences from which stage 1 answers, falling; the first is inf.
        share: (B, U + 1) answered at stage 1.
        accuracy: (B, U + 1) of the cascade's decisions.
        mcc: (B, U + 1) their Matthews correlation, NaN where undefined.
    """

    cuts: FloatArray
    share: FloatArray
    accuracy: FloatArray
    mcc: FloatArray


def exit_table(scores: CascadeScores, weights: FloatArray) -> ExitTable:
    """Share, accuracy and MCC at every distinct confidence of stage 1, for weights (B, N)."""
    ranking = scores.first.confidence_ranking
    change = scores.first.confusion_cells - scores.second.confusion_cells
    start = weights @ scores.second.confusion_cells
    # [true class, decided class] as columns 00, 01, 10, 11.
    tn, fp, fn, tp = (
        start[:, cell, None] + _crossed(ranking, weights * change[:, cell]) for cell in range(4)
    )
    total = weights.sum(axis=1, keepdims=True)
    spread = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return ExitTable(
        cuts=np.append(np.inf, ranking.values),
        share=ratio(_crossed(ranking, weights), total),
        accuracy=ratio(tp + tn, total),
        mcc=ratio(tp * tn - fp * fn, np.sqrt(np.maximum(spread, 0.0))),
    )


def fewest_views(
    scores: CascadeScores,
    weights: FloatArray,
    max_accuracy_loss: float,
    stage_views: tuple[int, int],
) -> tuple[FloatArray, FloatArray]:
    """Fewest mean views of an image at which the accuracy is at most so much below stage 2's.

    The cut is chosen on the rows on which it is judged: a description of these images, and too
    good for new ones.

    Args:
        scores: of both stages.
        weights: (B, N).
        max_accuracy_loss: allowed loss of accuracy against stage 2 on every image.
        stage_views: views of an image that stage 1 answers, and all views of one it passes on.

    Returns:
        The views (B,) and the cuts (B,); a cut of inf answers nothing at stage 1.
    """
    table = exit_table(scores, weights)
    allowed = table.accuracy >= table.accuracy[:, :1] - max_accuracy_loss - _SLACK
    # The share never falls along the cuts: the last allowed cut has the largest.
    last = allowed.shape[1] - 1 - np.argmax(allowed[:, ::-1], axis=1)
    share = np.take_along_axis(table.share, last[:, None], axis=1)[:, 0]
    once, all_views = stage_views
    return share * once + (1.0 - share) * all_views, table.cuts[last]


def recall_at_precision(
    scored: ScoredSet, weights: FloatArray, precision: float = 0.9
) -> FloatArray:
    """Largest recall (B,) of class 1 over thresholds whose precision is at least so high.

    Thresholds are the distinct scores. 0 where no threshold is precise enough, NaN without
    positives.
    """
    return recall_at(precision)(scored, weights)


class CascadeCurve(BaseModel):
    """Cost against worth, from no image answered at stage 1 to all.

    Attributes:
        cut: confidence from which stage 1 answers; None for the first point, where it never does.
        share: of the images, answered at stage 1.
        views: mean views of an image.
        accuracy: of the cascade's decisions.
        mcc: their Matthews correlation; None where undefined.
        recall: largest recall at the asked precision of the cascade's own probabilities; None
            without positives.
        precision: the one that was asked.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    cut: Annotated[tuple[float | None, ...], Strict(False)]
    share: Annotated[tuple[float, ...], Strict(False)]
    views: Annotated[tuple[float, ...], Strict(False)]
    accuracy: Annotated[tuple[float, ...], Strict(False)]
    mcc: Annotated[tuple[float | None, ...], Strict(False)]
    recall: Annotated[tuple[float | None, ...], Strict(False)]
    precision: float


def cascade_curve(
    scores: CascadeScores,
    stage_views: tuple[int, int],
    precision: float = 0.9,
    max_points: int = 257,
) -> CascadeCurve:
    """The curve at the distinct confidences of stage 1, thinned to about ``max_points``.

    Points are exact; thinning leaves points out, evenly, and keeps the first and the last.
    """
    table = exit_table(scores, np.ones((1, scores.first.n)))
    count = min(max_points, len(table.cuts))
    kept = np.unique(np.linspace(0, len(table.cuts) - 1, count).round().astype(np.int64))
    cuts, share = table.cuts[kept], table.share[0, kept]
    once, all_views = stage_views
    return CascadeCurve(
        cut=_with_none(cuts),
        share=tuple(share.tolist()),
        views=tuple((share * once + (1.0 - share) * all_views).tolist()),
        accuracy=tuple(table.accuracy[0, kept].tolist()),
        mcc=_with_none(table.mcc[0, kept]),
        recall=_with_none(_recalls(scores, cuts, precision)),
        precision=precision,
    )


def _crossed(ranking: Ranking, weights: FloatArray) -> FloatArray:
    """Sums (B, U + 1) of weights (B, N) over what has crossed to stage 1, from nothing on."""
    sums = np.cumsum(ranking.tally(weights), axis=1)
    return np.concatenate([np.zeros((len(weights), 1)), sums], axis=1)


def _recalls(scores: CascadeScores, cuts: FloatArray, precision: float) -> FloatArray:
    """Recall at the precision for every cut (C,): both stages' scores are sorted once, together."""
    first, second = scores.first, scores.second
    ranking = Ranking.of(np.concatenate([first.probabilities[:, 1], second.probabilities[:, 1]]))
    positive = np.tile(first.labels == 1, 2)[ranking.order].astype(np.float64)
    block = max(1, _BLOCK // len(positive))
    found: list[FloatArray] = []
    for start in range(0, len(cuts), block):
        at_once = first.confidence >= cuts[start : start + block, None]
        weights = np.concatenate([at_once, ~at_once], axis=1).astype(np.float64)
        found.append(largest_recall(SortedPass.of(ranking, positive, weights), precision))
    return np.concatenate(found)


def _with_none(values: FloatArray) -> tuple[float | None, ...]:
    return tuple(v if np.isfinite(v) else None for v in values.tolist())
