"""Curves keep every point up to a limit, then every second one, and the newest always."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadwork.errors import DataError
from roadwork.training import curves as module
from roadwork.training.curves import Curves, Point


def line(count: int, name: str = "train/loss") -> Curves:
    curves = Curves()
    for step in range(1, count + 1):
        curves.add(Point(name, step, 1, 1 / step, step / 10))
    return curves


def test_thinning_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIMIT", 4)
    kept = {count: [p.step for p in line(count).of("train/loss")] for count in range(1, 12)}
    assert kept == {
        1: [1],
        2: [1, 2],
        3: [1, 2, 3],
        4: [1, 2, 3, 4],
        5: [1, 3, 5],
        6: [1, 3, 5, 6],
        7: [1, 3, 5, 7],
        8: [1, 3, 5, 7, 8],
        9: [1, 5, 9],
        10: [1, 5, 9, 10],
        11: [1, 5, 9, 11],
    }


@settings(max_examples=60, deadline=None)
@given(count=st.integers(1, 200), limit=st.integers(1, 8).map(lambda half: 2 * half))
def test_thinned_curves_begin_and_end_where_they_should(count: int, limit: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LIMIT", limit)
        steps = [point.step for point in line(count).of("train/loss")]
        assert (steps[0], steps[-1]) == (1, count)
        assert len(steps) <= limit + 1
        assert len(steps) >= min(count, limit // 2)
        gaps = {b - a for a, b in pairwise(steps[:-1])}
        assert len(gaps) <= 1, "evenly thinned but for the newest"


@settings(max_examples=40, deadline=None)
@given(before=st.integers(0, 40), after=st.integers(0, 40))
def test_a_restored_state_goes_on_as_if_nothing_had_happened(before: int, after: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LIMIT", 4)
        whole, parted = line(before + after), line(before)
        parted = Curves.from_state(json.loads(json.dumps(parted.state())))
        for step in range(before + 1, before + after + 1):
            parted.add(Point("train/loss", step, 1, 1 / step, step / 10))
        assert parted.columns() == whole.columns()
        assert parted.state() == whole.state()


@settings(max_examples=60, deadline=None)
@given(count=st.integers(1, 60), limit=st.integers(1, 8).map(lambda half: 2 * half))
def test_what_was_thinned_once_is_not_thinned_again_when_it_is_read(count: int, limit: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LIMIT", limit)
        whole = line(count)
        again = Curves.from_table(whole.to_table())
        assert again.columns() == whole.columns()
        assert again.newest("train/loss") == whole.newest("train/loss")
        assert Curves.of_columns(again.columns()).columns() == whole.columns()


def test_columns_and_table_hold_everything() -> None:
    curves = line(3)
    curves.add(Point("select/nll", 0, 0, math.inf, 0.0))
    assert curves.columns() == {
        "name": ["select/nll", "train/loss", "train/loss", "train/loss"],
        "step": [0, 1, 2, 3],
        "pass": [0, 1, 1, 1],
        "value": [None, 1.0, 0.5, 1 / 3],
        "seconds": [0.0, 0.1, 0.2, 0.3],
    }
    json.dumps(curves.columns(), allow_nan=False)
    table = curves.to_table()
    assert Curves.from_table(table).to_table() == table
    both = Curves.of_columns(line(2, "pretrain/loss").columns(), curves.columns())
    assert both.names == ["pretrain/loss", "select/nll", "train/loss"]
    assert len(both) == 6
    assert math.isnan(both.of("select/nll")[0].value)


def test_faults_are_refused() -> None:
    curves = line(2)
    with pytest.raises(DataError, match="has step 2 already, so step 2 cannot follow"):
        curves.add(Point("train/loss", 2, 1, 0.0, 0.0))
    assert len(curves) == 2
    columns = curves.columns()
    with pytest.raises(DataError, match="has step 1 already, so step 1 cannot follow"):
        Curves.of_columns({**columns, "step": [1, 1]})
    with pytest.raises(DataError, match="no learning curves"):
        Curves.of_columns({**columns, "value": [1.0]})
    del columns["seconds"]
    with pytest.raises(DataError, match="'seconds'"):
        Curves.of_columns(columns)
