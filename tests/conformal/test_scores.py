"""Scores by hand, against a second implementation, and the numbers drawn for randomised ones."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import kstest

from roadwork.conformal.rows import Rows, content_id, uniforms
from roadwork.conformal.scores import SCORES, Score, ScoreName, label_ranks
from roadwork.errors import ConfigError, DataError

P = np.array([[0.1, 0.6, 0.3], [0.25, 0.25, 0.5]])


def test_scores_by_hand() -> None:
    assert label_ranks(P).tolist() == [[3, 1, 2], [2, 3, 1]]  # of equals the lower index first
    assert Score().of(P) == pytest.approx(np.array([[0.9, 0.4, 0.7], [0.75, 0.75, 0.5]]))
    aps = Score(name="aps").of(P)
    assert aps == pytest.approx(np.array([[1.0, 0.6, 0.9], [0.75, 1.0, 0.5]]))
    raps = Score(name="raps", penalty=0.1, k_reg=1).of(P)
    assert raps == pytest.approx(np.array([[1.2, 0.6, 1.0], [0.85, 1.2, 0.5]]))
    saps = Score(name="saps", weight=0.2).of(P)
    assert saps == pytest.approx(np.array([[1.0, 0.6, 0.8], [0.7, 0.9, 0.5]]))
    rank = Score(name="rank").of(P)
    assert rank == pytest.approx(np.array([[2.9, 0.4, 1.7], [1.75, 2.75, 0.5]]))


def naive(name: str, p: list[float], label: int, u: float) -> float:
    """A second implementation, label by label, from the definitions."""
    before = [j for j in range(len(p)) if p[j] > p[label] or (p[j] == p[label] and j < label)]
    rank = len(before) + 1
    aps = sum(p[j] for j in before) + u * p[label]
    return {
        "lac": 1 - p[label],
        "aps": aps,
        "raps": aps + 0.05 * max(0, rank - 2),
        "saps": u * max(p) if rank == 1 else max(p) + (rank - 2 + u) * 0.1,
        "rank": rank - p[label],
    }[name]


PARAMETERS: dict[str, dict[str, float]] = {
    "raps": {"penalty": 0.05, "k_reg": 2},
    "saps": {"weight": 0.1},
}


@given(seed=st.integers(0, 10**6), k=st.integers(2, 7), random=st.booleans())
@pytest.mark.parametrize("name", SCORES)
def test_scores_are_those_of_the_definitions(
    name: ScoreName, seed: int, k: int, random: bool
) -> None:
    p = np.random.default_rng(seed).dirichlet(np.ones(k), size=6)
    rows = Rows(ids=np.arange(6, dtype=np.uint64))
    drawn = random and SCORES[name].may_be_random
    score = Score.model_validate(
        {"name": name, "seed": 5 if drawn else None, **PARAMETERS.get(name, {})}
    )
    u = uniforms(5, np.arange(6, dtype=np.uint64), "score") if drawn else np.ones(6)
    expected = [[naive(name, p[i].tolist(), y, u[i]) for y in range(k)] for i in range(6)]
    assert score.of(p, rows) == pytest.approx(np.array(expected), abs=1e-12)
    # An image scores alike alone and in a batch, to the last bit: served sets are evaluated sets.
    alone = Rows(ids=np.array([4], dtype=np.uint64))
    assert (score.of(p[4:5], alone) == score.of(p, rows)[4:5]).all()


def test_the_last_label_of_aps_is_one_exactly() -> None:
    """Sums of all probabilities are ties by definition; rounding must not tell them apart."""
    p = np.random.default_rng(3).dirichlet(np.ones(2), size=5000)
    assert (Score(name="aps").of(p).max(axis=1) == 1.0).all()


def test_uniform_numbers_are_uniform_and_of_the_content() -> None:
    ids = np.random.default_rng(0).integers(2**63, size=4000).astype(np.uint64)
    u = uniforms(1, ids, "score")
    assert ((u >= 0) & (u < 1)).all() and kstest(u, "uniform").pvalue > 1e-3
    assert (uniforms(1, ids[::-1], "score") == u[::-1]).all()
    for other in (uniforms(2, ids, "score"), uniforms(1, ids, "group")):
        assert abs(np.corrcoef(u, other)[0, 1]) < 0.06
        assert (other != u).all()
    # Pinned: a fitted predictor must draw the same number years later.
    assert uniforms(0, np.array([1], dtype=np.uint64), "score")[0] == PINNED
    assert content_id(b"abc") == 0xBA7816BF8F01CFEA


PINNED = 0.29116078735750095


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "raps", "penalty": 0.1},
        {"name": "raps", "k_reg": 1},
        {"name": "saps"},
        {"name": "aps", "weight": 0.1},
        {"name": "lac", "seed": 1},
        {"name": "rank", "seed": 1},
        {"name": "best"},
    ],
)
def test_parameters_of_another_score_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Score.model_validate(wrong)


def test_a_randomised_score_asks_for_identities() -> None:
    score = Score(name="aps", seed=0)
    for rows in (None, Rows()):
        with pytest.raises(ConfigError, match="pass Rows"):
            score.of(P, rows)
    with pytest.raises(DataError, match="1 ids for 2 rows"):
        score.of(P, Rows(ids=np.array([1], dtype=np.uint64)))
    for ids in (np.array([0.5, 1.0]), np.zeros((2, 2), dtype=np.uint64)):
        with pytest.raises(DataError, match="unsigned"):
            score.of(P, Rows(ids=ids))


def test_randomised_sets_are_nested_in_alpha() -> None:
    """One number per image for all labels: a larger threshold only adds labels."""
    score = Score(name="aps", seed=0)
    p = np.random.default_rng(1).dirichlet(np.ones(4), size=200)
    scores = score.of(p, Rows(ids=np.arange(200, dtype=np.uint64)))
    for low, high in itertools.pairwise((0.3, 0.6, 0.9)):
        assert ((scores <= low) <= (scores <= high)).all()
    # In the order of probability scores rise: sets hold the most probable labels.
    order = np.argsort(-p, axis=1)
    assert (np.diff(np.take_along_axis(scores, order, axis=1), axis=1) > 0).all()
