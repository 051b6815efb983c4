"""Splits keep groups whole, every class in every set, and shares near what was asked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadwork.data.manifest import Role
from roadwork.data.splits import assign_roles, cut
from roadwork.errors import ConfigError, DataError
from roadwork.settings import SplitSettings
from tests.data import made


def rows_of(groups: list[tuple[int, int, str]]) -> list[dict[str, Any]]:
    """Rows of groups given as (negatives, positives, source)."""
    rows = []
    for index, (negatives, positives, source) in enumerate(groups):
        for label in [0] * negatives + [1] * positives:
            rows.append(made.row(len(rows), f"group-{index}", label, source=source))
    return rows


group_lists = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 6), st.sampled_from(["a", "b"])).filter(
        lambda group: group[0] + group[1] > 0
    ),
    min_size=20,
    max_size=50,
)


@given(group_lists, st.integers(0, 2**31 - 1))
@settings(max_examples=40, deadline=None)
def test_groups_stay_whole_and_nothing_is_lost(
    groups: list[tuple[int, int, str]], seed: int
) -> None:
    rows = rows_of(groups)
    table = made.table(rows)
    try:
        roles = assign_roles(table, SplitSettings(), seed)
    except DataError:
        # too few groups of a class for five sets, which is said and never hidden
        assert min(sum(g[0] > 0 for g in groups), sum(g[1] > 0 for g in groups)) < 20
        return
    home: dict[str, str] = {}
    for row, role in zip(rows, roles, strict=True):
        assert home.setdefault(row["group_id"], role) == role
    splits = cut(made.manifest(rows), SplitSettings(), seed)
    files = [file for part in splits.each() for file in part.files]
    assert sorted(files) == sorted(row["file"] for row in rows)
    for part in splits.each():
        assert set(part.labels.tolist()) == {0, 1}


def drives() -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    return rows_of(
        [
            (int(rng.integers(0, 8)), int(rng.integers(1, 5)), "ab"[int(rng.integers(2))])
            for _ in range(150)
        ]
    )


@pytest.mark.parametrize("seed", range(5))
def test_shares_are_met(seed: int) -> None:
    rows = drives()
    wanted = dict(zip(Role, (0.40, 0.10, 0.10, 0.20, 0.20), strict=True))
    roles = assign_roles(made.table(rows), SplitSettings(), seed)
    labels = np.array([row["label"] for row in rows])
    for role, share in wanted.items():
        for label in (0, 1):
            got = (roles[labels == label] == role).mean()
            assert abs(got - share) < 0.03, (role, label, got)


def test_the_seed_decides() -> None:
    table = made.table(drives())
    first, again = (assign_roles(table, SplitSettings(), 1) for _ in range(2))
    assert first.tolist() == again.tolist()
    assert first.tolist() != assign_roles(table, SplitSettings(), 2).tolist()


def test_the_order_of_rows_does_not_matter() -> None:
    rows = drives()
    forward = assign_roles(made.table(rows), SplitSettings(), 0)
    backward = assign_roles(made.table(rows[::-1]), SplitSettings(), 0)
    assert forward.tolist() == backward[::-1].tolist()


def test_one_class_only() -> None:
    with pytest.raises(DataError, match="same label"):
        assign_roles(made.table(rows_of([(3, 0, "a")] * 30)), SplitSettings(), 0)


def test_a_class_in_too_few_groups_is_named_with_its_count() -> None:
    groups = [(3, 0, "a")] * 30 + [(0, 3, "a")] * 3
    with pytest.raises(DataError, match=r"no image of class 1.*\{0: 30, 1: 3\} groups"):
        assign_roles(made.table(rows_of(groups)), SplitSettings(), 0)


def test_five_groups_of_each_class_are_enough() -> None:
    rows = rows_of([(2, 2, "a")] * 5)
    settings = SplitSettings(select=0.2, calibrate=0.2, conformal=0.2, test=0.2)
    splits = cut(made.manifest(rows), settings, 0)
    assert [len(part) for part in splits.each()] == [4] * 5


def three_sources() -> list[dict[str, Any]]:
    rng = np.random.default_rng(3)
    return rows_of(
        [
            (int(rng.integers(1, 5)), int(rng.integers(1, 5)), "abc"[int(rng.integers(3))])
            for _ in range(150)
        ]
    )


def test_a_held_out_source_is_the_test_set_and_the_rest_is_shared() -> None:
    rows = three_sources()
    roles = assign_roles(made.table(rows), SplitSettings(held_out_sources=("b",)), 0)
    sources = np.array([row["source"] for row in rows])
    assert ((roles == "test") == (sources == "b")).all()
    rest = roles[sources != "b"]
    # 0.40, 0.10, 0.10 and 0.20 of 0.80
    for role, share in (("train", 0.5), ("select", 0.125), ("calibrate", 0.125)):
        assert abs((rest == role).mean() - share) < 0.03


def test_a_group_with_one_image_of_a_held_out_source_is_held_out_whole() -> None:
    rows = three_sources()
    groups = sorted({row["group_id"] for row in rows if row["source"] == "a"})[:5]
    rows += [made.row(9000 + n, group, 1, source="b") for n, group in enumerate(groups)]
    roles = assign_roles(made.table(rows), SplitSettings(held_out_sources=("b",)), 0)
    held = {row["group_id"] for row in rows if row["source"] == "b"}
    assert set(groups) <= held
    for row, role in zip(rows, roles, strict=True):
        assert (role == "test") == (row["group_id"] in held)


def test_several_sources_can_be_held_out() -> None:
    rows = three_sources()
    splits = cut(made.manifest(rows), SplitSettings(held_out_sources=("c", "a")), 0)
    assert set(splits.test.column("source")) == {"a", "c"}
    for part in splits.each()[:4]:
        assert set(part.column("source")) == {"b"}


def test_an_unknown_source_is_named_with_those_that_exist() -> None:
    with pytest.raises(ConfigError, match=r"names elsewhere.*sources are a, b, c"):
        assign_roles(
            made.table(three_sources()), SplitSettings(held_out_sources=("a", "elsewhere")), 0
        )


def test_all_sources_held_out() -> None:
    with pytest.raises(ConfigError, match="leaves nothing to train on"):
        assign_roles(
            made.table(three_sources()), SplitSettings(held_out_sources=("a", "b", "c")), 0
        )


def test_a_held_out_source_of_one_class_is_no_test() -> None:
    rows = three_sources() + rows_of([(0, 3, "only works")] * 9)[-27:]
    for number, row in enumerate(rows[-27:]):
        row["group_id"] = f"works-{number // 3}"
    with pytest.raises(
        DataError, match=r"held-out sources \(only works\) have no image of class 0"
    ):
        assign_roles(made.table(rows), SplitSettings(held_out_sources=("only works",)), 0)


def test_roles_are_those_of_the_plain_rule() -> None:
    """The rule as it is described, one group at a time over all columns."""
    rows, settings, seed = three_sources(), SplitSettings(), 4
    names = sorted({row["group_id"] for row in rows})
    strata = sorted({(row["source"], row["label"]) for row in rows})
    counts = np.zeros((len(names), 3 + len(strata)))
    for row in rows:
        index = names.index(row["group_id"])
        counts[index, row["label"]] += 1
        counts[index, 3 + strata.index((row["source"], row["label"]))] += 1
    counts[:, 2] = counts[:, 0] * counts[:, 1]
    relative = counts / counts.sum(axis=0)
    shares = np.array([0.4, 0.1, 0.1, 0.2, 0.2])[:, None]
    rng = np.random.default_rng(seed)
    have = np.zeros((5, counts.shape[1]))
    home = {}
    for index in np.lexsort((rng.random(len(names)), -relative.max(axis=1))):
        before = (shares * (have / shares - 1) ** 2).sum(axis=1)
        after = (shares * ((have + relative[index]) / shares - 1) ** 2).sum(axis=1)
        role = int(np.argmax(before - after + 1e-9 * rng.random(5)))
        have[role] += relative[index]
        home[names[index]] = list(Role)[role].value
    roles = assign_roles(made.table(rows), settings, seed)
    assert roles.tolist() == [home[row["group_id"]] for row in rows]


def test_hashes_follow_what_is_in_a_set_and_not_where_it_lies() -> None:
    parts = made.good_parts()
    before = made.splits(parts).hashes()
    assert list(before) == [str(role) for role in Role]
    assert len(set(before.values())) == 5
    moved = [[{**row, "uri": "/elsewhere"} for row in part] for part in parts]
    assert made.splits(moved).hashes() == before
    for key, value in (("label", 1 - parts[0][0]["label"]), ("group_id", "other")):
        changed = [[{**parts[0][0], key: value}, *parts[0][1:]], *parts[1:]]
        after = made.splits(changed).hashes()
        assert [role for role in before if before[role] != after[role]] == ["train"]
