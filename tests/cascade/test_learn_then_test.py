"""p-values and the fixed sequence against numbers by hand and against scipy."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from roadwork.cascade.learn_then_test import (
    GroupVotes,
    binomial_p_value,
    fixed_sequence,
    hoeffding_bentkus_p_value,
)
from roadwork.errors import ConfigError, DataError


def test_the_binomial_p_value_by_hand() -> None:
    """Of 20 votes at bound 0.2: 0.8^20, and with one event 20 * 0.2 * 0.8^19 more."""
    none, one = 0.8**20, 0.8**20 + 20 * 0.2 * 0.8**19
    assert binomial_p_value([0, 1], 20, 0.2).tolist() == pytest.approx([none, one])


@given(st.integers(1, 60), st.integers(0, 60), st.floats(0.01, 0.99))
def test_the_binomial_p_value_is_that_of_the_exact_test(n: int, k: int, bound: float) -> None:
    events = min(n, k)
    expected = binomtest(events, n, bound, alternative="less").pvalue
    assert binomial_p_value([events], n, bound)[0] == pytest.approx(expected)


def test_hoeffding_bentkus_by_hand() -> None:
    """Ten votes, bound 0.2. No event: 0.8^10. One half: the mean 0.05 against 0.2."""
    found = hoeffding_bentkus_p_value([0.0, 0.5, 2.0], 10, 0.2)
    h = 0.05 * math.log(0.05 / 0.2) + 0.95 * math.log(0.95 / 0.8)
    assert found[:2].tolist() == pytest.approx([0.8**10, math.exp(-10 * h)])
    assert found[2] == 1.0


def test_bentkus_is_the_smaller_one_for_many_votes() -> None:
    """100 votes with a sum of 9.5, bound 0.2: e P(Bin(100, 0.2) <= 10) = e * 0.0056962."""
    h = 0.095 * math.log(0.095 / 0.2) + 0.905 * math.log(0.905 / 0.8)
    found = hoeffding_bentkus_p_value([9.5], 100, 0.2)[0]
    assert found == pytest.approx(math.e * 0.0056962, rel=1e-4)
    assert found < math.exp(-100 * h)


@given(st.integers(1, 40), st.floats(0.02, 0.9), st.data())
def test_hoeffding_bentkus_is_never_below_the_exact_one(
    n: int, bound: float, data: st.DataObject
) -> None:
    events = data.draw(st.integers(0, n))
    exact = binomial_p_value([events], n, bound)[0]
    assert hoeffding_bentkus_p_value([events], n, bound)[0] >= exact * (1 - 1e-9)


@pytest.mark.parametrize("test", [binomial_p_value, hoeffding_bentkus_p_value])
def test_without_votes_nothing_is_rejected(test: Callable[..., np.ndarray]) -> None:
    assert test([0.0, 0.0], 0, 0.1).tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("p_values", "rejected"),
    [([0.01, 0.02, 0.3, 0.001], 2), ([0.2, 0.0], 0), ([0.1, 0.1], 2), ([], 0)],
)
def test_the_sequence_stops_at_the_first_that_stays(p_values: list[float], rejected: int) -> None:
    assert fixed_sequence(p_values, 0.1) == rejected


@pytest.mark.parametrize("delta", [0.0, 1.0, float("nan")])
def test_an_impossible_delta_is_refused(delta: float) -> None:
    with pytest.raises(ConfigError, match="strictly between"):
        fixed_sequence([0.01], delta)


def test_every_group_has_one_vote() -> None:
    """Groups a (3 rows), b (1), c (2 rows, one counted), d (not counted at all)."""
    groups = np.array(["a", "b", "a", "c", "a", "c", "d"])
    counted = np.array([1, 1, 1, 1, 1, 0, 0], dtype=bool)
    votes = GroupVotes.of(groups, counted)
    third = 1 / 3
    assert votes.weights.tolist() == pytest.approx([third, 1, third, 1, third, 0, 0])
    assert (votes.n, votes.single) == (3, False)


def test_thirds_of_a_vote_make_whole_ones() -> None:
    """Three groups of three rows, each harmed row by row: sums 1/3, ..., 3, as the test sees them.

    Without rounding some sums would lie just above a whole number, and Bentkus' bound would count
    one event more.
    """
    votes = GroupVotes.of(np.repeat(np.arange(300), 3), np.ones(900, dtype=bool))
    event = np.zeros(900, dtype=bool)
    event[:90] = True
    found = votes.p_values(event, np.arange(900), 900, 0.2)
    expected = hoeffding_bentkus_p_value([1, 7, 30], 300, 0.2)
    assert (found[[2, 20, 89]] == expected).all()


def test_single_rows_get_the_exact_test() -> None:
    votes = GroupVotes.of(None, np.ones(20, dtype=bool))
    event, step = np.zeros(20, dtype=bool), np.full(20, 7)
    event[3], step[3] = True, 1
    found = votes.p_values(event, step, 3, 0.2)
    assert found.tolist() == binomial_p_value([0, 1, 1], 20, 0.2).tolist()


def test_groups_of_other_rows_are_refused() -> None:
    with pytest.raises(DataError, match=r"groups must have shape \(3,\)"):
        GroupVotes.of(["a", "b"], np.ones(3, dtype=bool))
