"""Design effects by hand."""

from __future__ import annotations

import numpy as np
import pytest

from roadwork.evaluation.intervals import design_effect


def test_groups_that_agree_within_themselves_count_once() -> None:
    # Two groups of three, one always hit and one never: p = 1/2, residual sums +-3/2.
    # G/(G-1) * (9/4 + 9/4) / (6 * 1/4) = 2 * 4.5 / 1.5 = 6.
    hits, groups = [1, 1, 1, 0, 0, 0], ["a"] * 3 + ["b"] * 3
    assert design_effect(hits, groups) == pytest.approx(6.0)


def test_balanced_groups_count_in_full() -> None:
    assert design_effect([1, 0, 1, 0], ["a", "a", "b", "b"]) == 1.0


@pytest.mark.parametrize(
    ("hits", "groups"), [([1, 1, 1], ["a", "b", "c"]), ([1, 0], ["a", "a"]), ([], [])]
)
def test_nothing_to_compare_is_one(hits: list[int], groups: list[str]) -> None:
    assert design_effect(hits, groups) == 1.0


def test_independent_outcomes_have_about_one_and_copies_their_number() -> None:
    rng = np.random.default_rng(0)
    outcomes = rng.random(2000) < 0.8
    assert design_effect(outcomes, np.arange(2000)) == pytest.approx(1.0, abs=0.01)
    assert design_effect(np.repeat(outcomes, 5), np.repeat(np.arange(2000), 5)) == pytest.approx(
        5.0, rel=0.01
    )
