"""Samplers: exact shares, nothing twice before everything once, every batch balanced."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from roadwork.data.manifest import SelectSet, TrainSet
from roadwork.errors import ConfigError, LeakageError
from roadwork.training.samplers import Balanced, apportion
from roadwork.training.strata import Plan, Strata, plan_draws
from tests.data import made

CELLS = {("a", 1): 17, ("a", 0): 3, ("b", 1): 4, ("b", 0): 36}


def train_set(cells: dict[tuple[str, int], int] = CELLS) -> TrainSet:
    """Rows of the given cells, mixed."""
    pairs = [pair for pair, count in cells.items() for _ in range(count)]
    pairs = [pairs[i] for i in np.random.default_rng(0).permutation(len(pairs))]
    return TrainSet(
        made.table(
            [made.row(n, label=label, source=source) for n, (source, label) in enumerate(pairs)]
        )
    )


def drawn(balance: str, shares: dict[str, float] | None = None, epoch: int = 0) -> Counter:
    train = train_set()
    strata = Strata.of(train)
    order = Balanced(plan_draws(strata, balance, shares or {}), seed=1)(epoch)
    assert len(order) == 60
    sources = np.asarray(train.column("source"))[order]
    return Counter(zip(sources.tolist(), train.labels[order].tolist(), strict=True))


def test_strata_are_counted() -> None:
    strata = Strata.of(train_set())
    assert strata.sources == ("a", "b")
    assert strata.counts.tolist() == [[3, 17], [36, 4]]
    assert strata.prior.tolist() == [39 / 60, 21 / 60]
    with pytest.raises(LeakageError, match="plan what training draws"):
        Strata.of(SelectSet(train_set().table))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("epoch", [0, 1, 5])
def test_classes_are_balanced(epoch: int) -> None:
    counts = drawn("class", epoch=epoch)
    assert counts["a", 1] + counts["b", 1] == 30
    assert counts["a", 0] + counts["b", 0] == 30


@pytest.mark.parametrize(
    ("shares", "expected"),
    [({}, 30), ({"a": 1.0, "b": 1.0}, 30), ({"a": 3.0, "b": 1.0}, 45), ({"a": 1, "b": 2}, 20)],
)
def test_sources_receive_their_shares(shares: dict[str, float], expected: int) -> None:
    counts = drawn("source", shares)
    assert counts["a", 0] + counts["a", 1] == expected


def test_sources_and_classes_are_balanced_together() -> None:
    assert set(drawn("source_and_class").values()) == {15}
    counts = drawn("source_and_class", {"a": 2.0, "b": 1.0})
    assert counts == {("a", 0): 20, ("a", 1): 20, ("b", 0): 10, ("b", 1): 10}


def test_a_source_of_one_label_gives_it_the_whole_share() -> None:
    strata = Strata.of(train_set({("a", 1): 10, ("b", 0): 10, ("b", 1): 20}))
    plan = plan_draws(strata, "source_and_class", {})
    np.testing.assert_allclose(plan.drawn, [[0.0, 0.5], [0.25, 0.25]])
    assert Balanced(plan, 0).counts.tolist() == [20, 10, 10]


def test_expected_shares_by_hand() -> None:
    strata = Strata.of(train_set())
    rows = strata.counts
    np.testing.assert_allclose(plan_draws(strata, "none", {}).drawn, rows / 60)
    np.testing.assert_allclose(plan_draws(strata, "class", {}).drawn, rows / np.array([39, 21]) / 2)
    np.testing.assert_allclose(
        plan_draws(strata, "source", {}).drawn, rows / np.array([[20], [40]]) / 2
    )


def test_no_row_comes_twice_before_all_of_its_stratum_came_once() -> None:
    train = train_set()
    order = Balanced(plan_draws(Strata.of(train), "source_and_class", {}), seed=1)
    rows = np.concatenate([order(epoch) for epoch in range(8)])
    sources = np.asarray(train.column("source"))
    for (source, label), size in CELLS.items():
        members = np.flatnonzero((sources == source) & (train.labels == label))
        # Draws leave the interleaving, but within a pass and a stratum they keep their order.
        stream = rows[np.isin(rows, members)]
        for start in range(0, len(stream) - size + 1, size):
            assert sorted(stream[start : start + size]) == sorted(members)


def test_every_batch_is_balanced() -> None:
    train = train_set()
    order = Balanced(plan_draws(Strata.of(train), "source_and_class", {}), seed=1)
    cells = Strata.of(train).source * 2 + train.labels
    for epoch in range(4):
        rows = order(epoch)
        for start in range(0, 60 - 12, 4):
            counts = np.bincount(cells[rows[start : start + 12]], minlength=4)
            assert counts.min() >= 2 and counts.max() <= 4


def test_the_order_depends_on_seed_and_pass_alone() -> None:
    plan = plan_draws(Strata.of(train_set()), "class", {})
    order = Balanced(plan, seed=1)
    later, first = order(3), order(0)
    assert (Balanced(plan, seed=1)(3) == later).all()
    assert (order(0) == first).all()
    assert (first != later).any()
    assert (Balanced(plan, seed=2)(0) != first).any()


@pytest.mark.parametrize(
    ("balance", "shares", "message"),
    [
        ("source", {"a": 1.0, "c": 1.0}, "names c, of which the training set has no image.*a, b"),
        ("source", {"a": 1.0}, r"leaves out b: give every source .* \(a, b\) a share"),
        ("class", {"a": 1.0, "b": 1.0}, "would be ignored with balance: class"),
        ("none", {"a": 1.0, "b": 1.0}, "would be ignored with balance: none"),
    ],
)
def test_shares_that_fit_no_source_are_refused(
    balance: str, shares: dict[str, float], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        plan_draws(Strata.of(train_set()), balance, shares)


def test_apportioning_by_hand() -> None:
    assert apportion(10, np.array([1.0, 1.0, 1.0])).tolist() == [4, 3, 3]
    assert apportion(10, np.array([0.55, 0.25, 0.2])).tolist() == [6, 2, 2]


@hypothesis_settings(max_examples=60, deadline=None)
@given(total=st.integers(1, 500), shares=st.lists(st.floats(0.01, 10.0), min_size=1, max_size=8))
def test_apportioning_is_within_one_row(total: int, shares: list[float]) -> None:
    counts = apportion(total, np.array(shares))
    assert counts.sum() == total
    exact = total * np.array(shares) / sum(shares)
    assert (np.abs(counts - exact) < 1 + 1e-9).all()


@hypothesis_settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=5),
    seed=st.integers(0, 1000),
    epoch=st.integers(0, 50),
)
def test_any_strata_give_a_pass_of_the_right_length(
    sizes: list[int], seed: int, epoch: int
) -> None:
    stratum = np.repeat(np.arange(len(sizes)), sizes)
    shares = np.full(len(sizes), 1 / len(sizes))
    order = Balanced(Plan(stratum, shares, np.zeros((1, 2))), seed)
    rows = order(epoch)
    assert len(rows) == sum(sizes)
    assert np.bincount(stratum[rows], minlength=len(sizes)).tolist() == order.counts.tolist()
    repeats = np.bincount(rows, minlength=len(stratum))
    for s, size in enumerate(sizes):
        # Two pieces of shuffled rounds may meet in a pass: at most one visit more than needed.
        assert repeats[stratum == s].max() <= order.counts[s] // size + 2
