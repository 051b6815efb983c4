"""Ranks by exact arithmetic, order statistics, and the exact band of hits."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import betabinom

from roadwork.conformal.ranks import (
    conformal_rank,
    conformal_threshold,
    coverage_band,
    minimum_points,
)
from roadwork.errors import ConfigError, DataError


@pytest.mark.parametrize(
    ("n", "alpha", "rank"),
    [
        (500, 0.1, 451),  # 501 * 0.9 = 450.9
        (9, 0.1, 9),  # 10 * 0.9 = 9 exactly
        (8, 0.1, None),  # 9 * 0.9 = 8.1 > 8
        (11, 0.1, 11),  # 12 * 0.9 = 10.8; the "higher" quantile gives 10
        (24, 0.44, 14),  # 25 * 0.56 = 14 exactly; floats say 15
        (99, 0.41, 59),  # 100 * 0.59 = 59 exactly; floats say 60
        (19, 0.05, 19),
        (99, 0.01, 99),
        (1, 0.5, 1),
        (0, 0.5, None),
        (10, 0.999, 1),
    ],
)
def test_rank_by_hand(n: int, alpha: float, rank: int | None) -> None:
    assert conformal_rank(n, alpha) == rank


def test_the_float_formula_is_wrong_where_ours_is_not() -> None:
    assert math.ceil(25 * (1 - 0.44)) == 15
    assert math.ceil(100 * (1 - 0.41)) == 60
    hazards = sum(
        math.ceil((n + 1) * (1 - alpha)) != (conformal_rank(n, alpha) or n + 1)
        for n in range(1, 1000)
        for alpha in (0.41, 0.44)
    )
    assert hazards > 0


@given(n=st.integers(1, 5000), percent=st.integers(1, 99))
def test_rank_is_the_least_that_keeps_the_promise(n: int, percent: int) -> None:
    promise = 1 - Fraction(percent, 100)
    rank = conformal_rank(n, percent / 100)
    if rank is None:
        assert Fraction(n, n + 1) < promise
    else:
        assert Fraction(rank, n + 1) >= promise > Fraction(rank - 1, n + 1)


@given(percent=st.integers(1, 99))
def test_minimum_points_is_where_the_rank_begins(percent: int) -> None:
    least = minimum_points(percent / 100)
    assert conformal_rank(least, percent / 100) is not None
    assert least == 1 or conformal_rank(least - 1, percent / 100) is None


def test_minimum_points_by_hand() -> None:
    assert [minimum_points(alpha) for alpha in (0.1, 0.05, 0.01)] == [9, 19, 99]


def test_numpy_numbers_count_as_written() -> None:
    assert conformal_rank(24, np.float64(0.44)) == 14
    assert conformal_rank(24, float(np.float64(0.44))) == 14


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, 1.1, math.nan, math.inf])
def test_alpha_out_of_range_is_refused(alpha: float) -> None:
    with pytest.raises(ConfigError, match="alpha"):
        conformal_rank(10, alpha)


def test_a_negative_count_is_refused() -> None:
    with pytest.raises(DataError):
        conformal_rank(-1, 0.1)
    with pytest.raises(DataError):
        coverage_band(10, -1, 0.1, 0.1)
    with pytest.raises(ConfigError):
        coverage_band(10, 1, 0.1, 0.0)


def test_threshold_is_an_order_statistic() -> None:
    scores = np.array([0.9, 0.1, 0.5, 0.3, 0.7, 0.2, 0.4, 0.6, 0.8])
    assert conformal_threshold(scores, 0.1) == (0.9, 9)
    assert conformal_threshold(scores, 0.5) == (0.5, 5)
    assert conformal_threshold(scores[:8], 0.1) == (None, None)


def test_band_of_the_reference() -> None:
    # Published example: n = 500, m = 1000, alpha = 0.1 gives coverage in [0.840, 0.947].
    assert coverage_band(500, 1000, 0.1, 1e-3) == (840, 947)


@given(
    n=st.integers(1, 400),
    m=st.integers(0, 300),
    alpha=st.sampled_from([0.05, 0.1, 0.2, 0.44]),
    delta=st.sampled_from([1e-6, 1e-3, 0.05, 0.3]),
)
def test_band_leaves_out_at_most_half_of_delta_on_each_side(
    n: int, m: int, alpha: float, delta: float
) -> None:
    low, high = coverage_band(n, m, alpha, delta)
    rank = conformal_rank(n, alpha)
    if rank is None:
        assert (low, high) == (m, m)
        return
    law = betabinom(m, rank, n + 1 - rank)
    slack = 1 + 1e-6
    assert 0 <= low <= high <= m
    assert law.cdf(low - 1) <= delta / 2 * slack
    assert law.sf(high) <= delta / 2 * slack
    assert law.cdf(low) * slack >= delta / 2
    assert law.sf(high - 1) * slack >= delta / 2
