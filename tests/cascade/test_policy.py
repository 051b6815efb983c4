"""Exits: fitted by hand, applied by hand, kept exactly, and what they promise."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from roadwork.cascade.exit_paths import EXIT_PATHS, PathName
from roadwork.cascade.fitted import FittedExitPolicy
from roadwork.cascade.policy import ExitPolicy, ExitPromise
from roadwork.errors import ConfigError, DataError


def two(p: object) -> np.ndarray:
    """Probabilities (N, 2) from those of roadwork."""
    positive = np.asarray(p, dtype=np.float64)
    return np.stack([1 - positive, positive], axis=1)


# Twenty images of one row each. At bound 0.2 and delta 0.1 one harm may happen and two may not:
# P(Bin(20, 0.2) <= 1) = 0.069, P(Bin(20, 0.2) <= 2) = 0.206.
LABELS = np.array([0] * 10 + [1, 1] + [0] * 8)
FIRST = two([0.01] * 10 + [0.05, 0.1] + [0.3] * 8)
SECOND = two(np.where(LABELS == 1, 0.9, 0.1))
LOOSE = ExitPromise(max_accuracy_loss=0.2, max_recall_loss=None, delta=0.1)


def policy(**changes: object) -> ExitPolicy:
    fields: dict[str, object] = {
        "low": 0.2,
        "high": 0.9,
        "answer_from": 0.5,
        "promise": LOOSE,
        "path": "two_sided",
        "n": 20,
        "votes": 20,
        "roadwork_votes": 2,
        "exited": 0.25,
    }
    return ExitPolicy.model_validate(fields | changes)


@pytest.mark.parametrize("path", ["two_sided", "none_only"])
def test_the_exits_stop_before_the_second_harm(path: PathName) -> None:
    found = ExitPolicy.fit(FIRST, SECOND, LABELS, promise=LOOSE, path=path)
    grid = EXIT_PATHS[path].low
    assert found.low == grid[grid < 0.1].max()
    assert found.exits(FIRST).tolist() == [True] * 11 + [False] * 9
    assert found.exited == pytest.approx(11 / 20)
    assert (found.high is None) == (path == "none_only")
    assert (found.n, found.votes, found.roadwork_votes) == (20, 20, 2)


def test_what_stage_2_gets_wrong_too_is_no_harm() -> None:
    second = SECOND.copy()
    second[11] = [0.8, 0.2]
    found = ExitPolicy.fit(FIRST, second, LABELS, promise=LOOSE, path="none_only")
    assert found.low == EXIT_PATHS["none_only"].low[-1]


def test_a_tie_of_stage_2_is_none() -> None:
    """Stage 2 says "none" at one half, so that stage 1 harms no image of roadwork there."""
    second = SECOND.copy()
    second[11] = [0.5, 0.5]
    found = ExitPolicy.fit(FIRST, second, LABELS, promise=LOOSE, path="none_only")
    assert found.low == EXIT_PATHS["none_only"].low[-1]
    assert found.decide([[0.3, 0.7]], [[0.5, 0.5]]).labels.tolist() == [0]


def test_the_other_side_mirrors() -> None:
    found = ExitPolicy.fit(
        FIRST[:, ::-1], SECOND[:, ::-1], 1 - LABELS, promise=LOOSE, path="roadwork_only"
    )
    grid = EXIT_PATHS["roadwork_only"].high
    assert (found.low, found.high) == (None, grid[grid > 0.9].min())


def test_recall_is_bounded_among_roadwork_alone() -> None:
    """Two votes of roadwork reject 0.7 without harm (0.3^2 = 0.09), but not with one (0.51)."""
    promise = LOOSE.model_copy(update={"max_recall_loss": 0.7})
    found = ExitPolicy.fit(FIRST, SECOND, LABELS, promise=promise)
    grid = EXIT_PATHS["two_sided"].low
    assert found.low == grid[grid < 0.05].max()
    never = LOOSE.model_copy(update={"max_recall_loss": 0.6})  # 0.4^2 = 0.16 > 0.1
    assert not ExitPolicy.fit(FIRST, SECOND, LABELS, promise=never).feasible


def test_too_few_groups_never_exit() -> None:
    """Ten drives of two images: 0.8^10 = 0.107 > 0.1, though no image is harmed."""
    safe = two(np.where(LABELS == 1, 0.99, 0.01))
    groups = np.repeat(np.arange(10), 2)
    found = ExitPolicy.fit(safe, SECOND, LABELS, groups, promise=LOOSE)
    assert not found.feasible
    assert (found.low, found.high, found.exited) == (None, None, 0.0)
    assert not found.exits(safe).any()
    assert "no exit could be certified" in found.guarantee
    assert "no image exits at stage 1" in found.guarantee
    alone = ExitPolicy.fit(safe, SECOND, LABELS, promise=LOOSE)
    assert alone.feasible and alone.exits(safe).all()


def test_the_documented_number_of_groups() -> None:
    promise = ExitPromise(max_recall_loss=None)
    for n, feasible in ((459, False), (460, True)):
        p = two(np.full(n, 0.01))
        labels = np.zeros(n, dtype=np.int64)
        assert ExitPolicy.fit(p, p, labels, promise=promise).feasible == feasible


def test_a_large_drive_has_one_vote() -> None:
    """Forty drives; one of them, of 100 images, is harmed throughout: one vote of 40."""
    labels = np.zeros(139, dtype=np.int64)
    groups = np.append(np.zeros(100, dtype=np.int64), np.arange(1, 40))
    first, second = two(np.full(139, 0.001)), two(np.full(139, 0.01))
    labels[:100] = 1
    second[:100] = [0.01, 0.99]
    together = ExitPolicy.fit(first, second, labels, groups, promise=LOOSE)
    assert together.exits(first).all() and together.exited == pytest.approx(1.0)
    alone = ExitPolicy.fit(first, second, labels, promise=LOOSE)
    assert not alone.exits(first).any() and alone.exited == 0.0


def test_the_defer_rule_by_hand() -> None:
    """Each test gets half of delta: P(Bin(20, 0.3) <= 1) = 0.0076, <= 2: 0.035, <= 3: 0.107."""
    p = np.array([0.99] * 14 + [0.95, 0.9, 0.8, 0.7, 0.6, 0.55])
    labels = np.array([1] * 14 + [0, 0, 0, 0, 1, 1])
    promise = ExitPromise(max_accuracy_loss=0.2, max_recall_loss=None, max_wrong=0.3, delta=0.1)
    found = ExitPolicy.fit(two(np.full(20, 0.5)), two(p), labels, promise=promise)
    assert found.answer_from is not None
    assert 0.8 < found.answer_from < 0.81
    answers = found.decide(two([0.5] * 4), two([0.9, 0.7, 0.1, 0.25]))
    assert answers.deferred.tolist() == [False, True, False, True]


def test_a_stage_2_that_cannot_be_certified_defers_everything_it_gets() -> None:
    promise = LOOSE.model_copy(update={"max_wrong": 0.001})
    found = ExitPolicy.fit(two([0.01] * 20), SECOND, LABELS * 0, promise=promise)
    assert found.answer_from is None
    answers = found.decide(two([0.001, 0.5]), two([0.1, 0.001]))
    assert answers.stages.tolist() == [1, 2]
    assert answers.deferred.tolist() == [False, True]
    assert "goes to a person" in found.guarantee


def test_half_precision_does_not_defer_where_all_answers_stand() -> None:
    answers = policy().decide([[0.5, 0.5]], [[0.4995, 0.4995]])
    assert (answers.stages.tolist(), answers.deferred.tolist()) == ([2], [False])


def test_decisions_by_hand() -> None:
    answers = policy(answer_from=0.7).decide(
        two([0.2, 0.21, 0.9, 0.89, 0.5]), two([0.9, 0.6, 0.1, 0.8, 0.3])
    )
    assert answers.labels.tolist() == [0, 1, 1, 1, 0]
    assert answers.stages.tolist() == [1, 2, 1, 2, 2]
    assert answers.probabilities.tolist() == [0.2, 0.6, 0.9, 0.8, 0.3]
    assert answers.deferred.tolist() == [False, True, False, False, False]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.sampled_from(sorted(EXIT_PATHS)))
def test_the_step_is_the_first_exit_that_answers(p: list[float], path: str) -> None:
    values, exits = np.array(p), EXIT_PATHS[path]
    inside = (values[:, None] <= exits.low) | (values[:, None] >= exits.high)
    expected = np.where(inside.any(axis=1), inside.argmax(axis=1), len(exits.low))
    assert exits.step(values).tolist() == expected.tolist()


@pytest.mark.parametrize("path", sorted(EXIT_PATHS))
def test_paths_only_widen(path: str) -> None:
    exits = EXIT_PATHS[path]
    with np.errstate(invalid="ignore"):
        assert not (np.diff(exits.low) < 0).any() and not (np.diff(exits.high) > 0).any()
    assert (exits.low < 0.5).all() and (exits.high > 0.5).all()


def test_json_is_exact() -> None:
    found = ExitPolicy.fit(FIRST, SECOND, LABELS, promise=LOOSE)
    assert FittedExitPolicy.parse(json.loads(found.model_dump_json())) == found


@pytest.mark.parametrize(
    "changes", [{"low": 0.9, "high": 0.2}, {"low": 0.0}, {"answer_from": 0.4}, {"path": "x"}]
)
def test_an_impossible_policy_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        policy(**changes)
    with pytest.raises(DataError, match="stored exit policy"):
        FittedExitPolicy.parse(json.loads(policy().model_dump_json()) | changes)


def test_bad_input_is_refused() -> None:
    with pytest.raises(DataError, match="two classes, not 3"):
        ExitPolicy.fit(np.full((4, 3), 1 / 3), SECOND[:4], LABELS[:4], promise=LOOSE)
    with pytest.raises(DataError, match="20 images and stage 2 4"):
        ExitPolicy.fit(FIRST, SECOND[:4], LABELS, promise=LOOSE)
    with pytest.raises(ConfigError, match="no exit path 'x'"):
        ExitPolicy.fit(FIRST, SECOND, LABELS, promise=LOOSE, path="x")  # pyright: ignore
    with pytest.raises(DataError, match="no distribution"):
        policy().exits([[2.0, -1.0]])


def test_the_guarantee_is_in_words() -> None:
    promise = ExitPromise(max_accuracy_loss=0.01, max_recall_loss=0.02, max_wrong=0.05, delta=0.1)
    text = policy(promise=promise, answer_from=0.8).guarantee
    for part in ("90 % confidence", "at most 1 % of", "at most 2 % of", "below confidence 0.8"):
        assert part in text
