"""Nonconformity scores: how strange a label would be for an image, from its probabilities.

Every score is computed by one function for the calibration points and for new images: a threshold
is one of these numbers, and ``<=`` decides ties rightly only between numbers that were computed
the same way.

With labels ranked by probability (ties: the lower index first), r the rank of y from 1, and u one
number in [0, 1) per image (randomised) or 1 (deterministic):

- LAC: 1 - p_y.
- APS: the sum of the probabilities ranked before y, plus u p_y.
- RAPS: APS + penalty * max(0, r - k_reg).
- SAPS: u p_max if r = 1, otherwise p_max + (r - 2 + u) * weight.
- RANK: r - p_y, which orders by rank first and by probability within a rank.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from roadwork.calibration.base import FloatArray
from roadwork.conformal.rows import Rows, uniforms
from roadwork.errors import ConfigError, DataError

__all__ = ["SCORES", "Score", "ScoreInfo", "ScoreName", "label_ranks"]

ScoreName = Literal["lac", "aps", "raps", "saps", "rank"]


class Score(BaseModel):
    """A score by name with its parameters; frozen, and exact through JSON.

    Attributes:
        seed: of the numbers u of a randomised score (aps, raps, saps); None: deterministic.
        penalty: raps: added for every rank beyond ``k_reg``.
        k_reg: raps: ranks without penalty.
        weight: saps: of one rank.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    name: ScoreName = "lac"
    seed: int | None = None
    penalty: float | None = Field(default=None, ge=0.0)
    k_reg: int | None = Field(default=None, ge=0)
    weight: float | None = Field(default=None, gt=0.0)

    @model_validator(mode="after")
    def _its_own_parameters(self) -> Self:
        info = SCORES[self.name]
        for key in ("penalty", "k_reg", "weight"):
            given, wanted = getattr(self, key) is not None, key in info.parameters
            if given != wanted:
                raise ValueError(f"score {self.name} {'needs' if wanted else 'has no'} {key}")
        if self.seed is not None and not info.may_be_random:
            raise ValueError(f"score {self.name} is never randomised and takes no seed")
        return self

    def of(self, probabilities: FloatArray, rows: Rows | None = None) -> FloatArray:
        """Scores of every label, (N, K) in float64, for checked probabilities (N, K).

        Raises:
            ConfigError: the score is randomised and the rows have no ids.
            DataError: there is not one id per row.
        """
        if self.seed is None:
            u = np.ones((len(probabilities), 1))
        elif rows is None or rows.ids is None:
            raise ConfigError(
                f"the randomised score {self.name} draws a number for every image from its "
                "identity: pass Rows(ids=...), or use a deterministic score."
            )
        elif len(rows.ids) != len(probabilities):
            raise DataError(f"{len(rows.ids)} ids for {len(probabilities)} rows of probabilities.")
        else:
            u = uniforms(self.seed, rows.ids, "score")[:, None]
        return SCORES[self.name].compute(probabilities, u, self)


def label_ranks(probabilities: FloatArray) -> NDArray[np.int64]:
    """Rank of every label of its row, (N, K) from 1; of equals, the lower index comes first."""
    order = np.argsort(-probabilities, axis=1, kind="stable")
    ranks = np.empty(order.shape, dtype=np.int64)
    np.put_along_axis(ranks, order, np.arange(1, order.shape[1] + 1)[None, :], axis=1)
    return ranks


def _lac(p: FloatArray, u: FloatArray, score: Score) -> FloatArray:
    return 1.0 - p


def _aps(p: FloatArray, u: FloatArray, score: Score) -> FloatArray:
    order = np.argsort(-p, axis=1, kind="stable")
    ranked = np.take_along_axis(p, order, axis=1)
    upto = np.minimum(np.cumsum(ranked, axis=1), 1.0)
    # All labels together hold all the probability: rounding must not tell such ties apart.
    upto[:, -1] = 1.0
    before = np.concatenate([np.zeros((len(p), 1)), upto[:, :-1]], axis=1)
    inside = np.where(u < 1.0, before + u * ranked, upto)
    return _put_back(inside, order)


def _raps(p: FloatArray, u: FloatArray, score: Score) -> FloatArray:
    assert score.penalty is not None and score.k_reg is not None  # the validator saw to it
    return _aps(p, u, score) + score.penalty * np.maximum(0, label_ranks(p) - score.k_reg)


def _saps(p: FloatArray, u: FloatArray, score: Score) -> FloatArray:
    assert score.weight is not None  # the validator saw to it
    ranks, largest = label_ranks(p), p.max(axis=1, keepdims=True)
    return np.where(ranks == 1, u * largest, largest + (ranks - 2 + u) * score.weight)


def _rank(p: FloatArray, u: FloatArray, score: Score) -> FloatArray:
    return label_ranks(p) - p


def _put_back(ranked: FloatArray, order: NDArray[np.int64]) -> FloatArray:
    values = np.empty_like(ranked)
    np.put_along_axis(values, order, ranked, axis=1)
    return values


@dataclass(frozen=True)
class ScoreInfo:
    """One score: ``compute(probabilities (N, K), u (N, 1), score)`` gives (N, K)."""

    title: str
    compute: Callable[[FloatArray, FloatArray, Score], FloatArray]
    parameters: frozenset[str]
    may_be_random: bool
    reference: str


SCORES: Mapping[str, ScoreInfo] = MappingProxyType(
    {
        "lac": ScoreInfo(
            "LAC, least ambiguous sets",
            _lac,
            frozenset(),
            False,
            "Sadinle, Lei, Wasserman, JASA 2019, arXiv 1609.00451",
        ),
        "aps": ScoreInfo(
            "APS, adaptive sets",
            _aps,
            frozenset(),
            True,
            "Romano, Sesia, Candès, NeurIPS 2020, arXiv 2006.02544",
        ),
        "raps": ScoreInfo(
            "RAPS, regularised adaptive sets",
            _raps,
            frozenset({"penalty", "k_reg"}),
            True,
            "Angelopoulos et al., ICLR 2021, arXiv 2009.14193",
        ),
        "saps": ScoreInfo(
            "SAPS, sorted adaptive sets",
            _saps,
            frozenset({"weight"}),
            True,
            "Huang et al., arXiv 2310.06430",
        ),
        "rank": ScoreInfo(
            "RANK, by the label's rank",
            _rank,
            frozenset(),
            False,
            "after Luo, Zhou, arXiv 2407.04407",
        ),
    }
)
