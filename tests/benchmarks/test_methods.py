"""The comparison of training methods: its folds, its choices and its figures, by hand."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from benchmarks import methods, methods_figures, methods_plan
from benchmarks.methods_cells import temperature
from benchmarks.methods_figures import (
    FIGURES,
    Answers,
    Results,
    best_mcc,
    summarise,
)
from benchmarks.methods_plan import RUNS, TABLES, Cell, Plan, Table, settings_of, wanted_cells
from benchmarks.photographs import Photographs, Sets, deal

PLAN = Plan(data="photographs", scratch="scratch", vit_weights="vit.safetensors", folds=3)


RATES = (1e-4, 3e-4, 1e-3)


@pytest.fixture(autouse=True)
def _three_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the present plan has: a choice takes more than one rate."""
    runs = {**RUNS, "lora": replace(RUNS["lora"], rates=RATES)}
    monkeypatch.setattr(methods_plan, "RUNS", runs)
    monkeypatch.setattr(methods_figures, "RUNS", runs)


def made_photographs() -> Photographs:
    """24 groups of four: cities with both labels, and two sources without works."""
    rows = []
    for group in range(24):
        source = ("city", "highway", "village")[group % 3]
        for place in range(4):
            label = int(source == "city" and place < 3)
            rows.append((f"{group:08x}{place:08x}", label, f"{source}/{group}", source))
    ids, labels, groups, sources = zip(*rows, strict=True)
    return Photographs(
        pa.table(
            {
                "sample_id": list(ids),
                "uri": list(ids),
                "label": list(labels),
                "group_id": list(groups),
                "drive": list(groups),
                "source": list(sources),
            }
        ),
        PLAN.folds,
    )


def answers(margins: list[float], labels: list[int], groups: str, sources: str) -> Answers:
    values = np.array(margins, dtype=np.float64)
    count = len(values)
    return Answers(
        values,
        values / 2,
        np.array(labels),
        np.array(list(groups)),
        np.zeros(count, dtype=np.int64),
        np.array(list(sources)),
    )


def figure(name: str, given: Answers) -> float:
    return float(FIGURES[name][1](given, np.ones((1, len(given.labels))))[0])


def test_every_photograph_is_judged_once_and_groups_stay_together() -> None:
    photographs = made_photographs()
    for seed in PLAN.seeds:
        judged = []
        for fold in range(PLAN.folds):
            sets = photographs.sets(seed, fold, "")
            parts = [set(part.groups) for part in (sets.train, sets.select, sets.test)]
            assert not parts[0] & parts[1]
            assert not (parts[0] | parts[1]) & parts[2]
            assert set.union(*parts) == set(photographs.groups)
            assert len(sets.both) == len(sets.train) + len(sets.select)
            judged += sets.rows.tolist()
        assert sorted(judged) == list(range(96))
    works = photographs.labels > 0
    folds = [photographs.held_out(seed)[works] for seed in PLAN.seeds]
    assert (folds[0] != folds[1]).any()
    assert np.bincount(folds[0]).max() - np.bincount(folds[0]).min() <= 3  # one group


def test_groups_of_a_kind_are_dealt_out_in_turn() -> None:
    labels = np.array([1, 0, 1, 0, 1, 1, 0, 0])
    groups = np.array(list("aabbcdef"))
    sources = np.array(list("xxxxxxxx"))
    for seed in range(5):
        parts = deal(labels, groups, sources, 2, [seed])
        both, works, none = parts[[0, 2]], parts[[4, 5]], parts[[6, 7]]
        assert parts[0] == parts[1]
        assert sorted(both) == sorted(works) == sorted(none) == [0, 1]


def test_of_an_unseen_source_nothing_is_learned() -> None:
    photographs = made_photographs()
    judged = []
    for fold in range(PLAN.folds):
        sets = photographs.sets(0, fold, "village")
        assert "village" not in sets.both.column("source")
        assert set(sets.test.column("source")) == {"village", "city"}
        judged += sets.rows.tolist()
    assert sorted(judged) == np.flatnonzero(photographs.sources != "highway").tolist()


def test_aurocs_by_hand() -> None:
    # Pairs: clip a: 3 > 2 right, clip b: 1 < 4 wrong; across: 3 < 4 wrong, 1 < 2 wrong.
    given = answers([3, 2, 1, 4], [1, 0, 1, 0], "aabb", "xxyy")
    assert figure("auroc", given) == pytest.approx(1 / 4)
    assert figure("within_clip", given) == figure("within_source", given) == pytest.approx(1 / 2)


def test_auroc_ranks_margins_that_are_equal_as_probabilities() -> None:
    given = answers([90, 80, 70], [1, 0, 0], "abc", "xxx")
    assert given.scored.probabilities[0, 1] == given.scored.probabilities[2, 1] == 1.0
    assert figure("auroc", given) == 1.0


def test_within_clip_is_undefined_where_no_clip_has_both_labels() -> None:
    assert math.isnan(figure("within_clip", answers([1, 2], [0, 1], "ab", "xx")))


def test_likelihood_before_and_after_the_temperature() -> None:
    given = answers([2.0, -4.0], [1, 1], "ab", "xx")
    expected = [math.log1p(math.exp(-2)) + math.log1p(math.exp(4))]
    expected += [math.log1p(math.exp(-1)) + math.log1p(math.exp(2))]
    assert figure("nll", given) == pytest.approx(expected[0] / 2)
    assert figure("nll_tempered", given) == pytest.approx(expected[1] / 2)
    assert figure("accuracy", given) == 0.5


def test_best_mcc_is_that_of_the_best_threshold() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        margins, labels = rng.integers(0, 6, 12).astype(float), rng.integers(0, 2, 12)
        found = []
        for threshold in np.unique(margins):
            said = margins >= threshold
            if said.all() or labels.min() == labels.max():
                continue
            found.append(np.corrcoef(said, labels)[0, 1])
        given = answers(margins.tolist(), labels.tolist(), "a" * 12, "x" * 12)
        assert best_mcc(given) == pytest.approx(max([0.0, *found]))


@functools.cache
def made_sets(seed: int, fold: int) -> Sets:
    return made_photographs().sets(seed, fold, "")


def cell_result(cell: Cell, loss: float, noise: float) -> dict[str, Any]:
    sets = made_sets(cell.seed, cell.fold)
    rng = np.random.default_rng([cell.seed, cell.fold])
    return {
        "cell": {"run": cell.run},
        "chosen": 1,
        "select_nll": [9.0, loss],
        "rows": sets.rows.tolist(),
        "margins": (sets.test.labels + noise * rng.normal(size=len(sets.rows))).tolist(),
        "temperature": None,
        "seconds": 1.0,
    }


def filled(losses: Mapping[tuple[str, float], float], noise: float = 1.0) -> Results:
    results = Results(PLAN, made_photographs())
    for (run, rate), loss in losses.items():
        for seed in PLAN.seeds:
            for fold in range(PLAN.folds):
                cell = Cell(run, rate, seed, fold)
                results.cells[cell] = cell_result(cell, loss, noise)
    return results


def test_the_rate_of_least_selection_loss_is_chosen_when_all_are_there() -> None:
    results = filled({("lora", 1e-4): 0.5, ("lora", 3e-4): 0.2})
    assert results.chosen("lora") is None
    results = filled({("lora", 1e-4): 0.5, ("lora", 3e-4): 0.2, ("lora", 1e-3): 0.2})
    assert results.chosen("lora") == results.chosen("focal") == 3e-4
    assert results.chosen("probe") == 0.0


def test_cells_wait_for_the_rate() -> None:
    before = list(wanted_cells(["losses"], PLAN, [], lambda run: None))
    assert {(cell.run, cell.rate) for cell in before} == {("lora", rate) for rate in RATES}
    assert {cell.seed for cell in before} == {0}
    after = set(wanted_cells(["losses"], PLAN, [], lambda run: 3e-4))
    chosen = {cell for cell in after if cell.rate == 3e-4}
    assert len(chosen) == len(TABLES["losses"].runs) * 9
    assert len(after) == len(chosen) + 2 * 3


def test_equal_answers_differ_by_nothing_and_worse_ones_by_less_than_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(methods_figures, "RESAMPLES", 200)
    results = filled({("lora", rate): 0.1 for rate in RATES})
    worse = filled({("focal", 1e-4): 0.1}, noise=3.0)
    results.cells |= {
        **worse.cells,
        **{
            Cell("label smoothing 0.1", 1e-4, c.seed, c.fold): value
            for c, value in results.cells.items()
            if c.rate == 1e-4
        },
    }
    table = Table("three", ("lora", "label smoothing 0.1", "focal", "full"), ("lora",))
    found = summarise(results, "three", table)
    assert found["missing"] == ["all weights"]
    equal, unequal = (row["differences"]["lora"]["auroc"] for row in found["rows"][1:])
    assert equal == {"mean": 0.0, "interval": (0.0, 0.0), "by_seed": [0.0, 0.0, 0.0]}
    assert unequal["mean"] < 0
    assert unequal["interval"][1] < 0


def test_there_is_no_temperature_without_an_error() -> None:
    assert temperature(np.array([2.0, -1.0]), np.array([1, 0])) is None
    # Two of three answers are right at either margin: 1 / (1 + exp(-1 / T)) = 2 / 3.
    margins, labels = np.array([1.0, 1, 1, -1, -1, -1]), np.array([1, 1, 0, 0, 0, 1])
    assert temperature(margins, labels) == pytest.approx(1 / math.log(2), rel=1e-5)


def test_every_run_has_settings() -> None:
    for name, run in RUNS.items():
        settings = settings_of(PLAN, Cell(name, 1e-3, 2, 0))
        assert settings.seed == 2
        for key, value in run.views.items():
            assert getattr(settings.backbone.views, key) == value
        if run.finetune is not None:
            assert settings.finetune.adapter == run.finetune["adapter"]
    for table in TABLES.values():
        assert set(table.runs) <= set(RUNS)
        assert set(table.against) <= set(table.runs)
        assert set(table.names) <= set(table.runs)


@pytest.mark.parametrize("at_once", [False, True], ids=["while it computes", "when it is asked"])
def test_a_killed_process_ends_in_a_report_of_what_is_done(
    at_once: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    class Pool:
        """Computes one cell; then one of its processes is killed."""

        def __init__(self, *_: object, **__: object) -> None:
            self.done = 0

        def __enter__(self) -> Pool:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def submit(self, task: object, plan: Plan, cell: Cell) -> Future[Any]:
            future: Future[Any] = Future()
            self.done += 1
            if self.done == 1:
                found = {"cell": asdict(cell), "seconds": 1.0, "select_nll": [0.5], "chosen": 0}
                future.set_result({**found, "gigabytes": None})
            elif at_once:
                raise BrokenProcessPool("ended abruptly")
            else:
                future.set_exception(BrokenProcessPool("ended abruptly"))
            return future

    monkeypatch.setattr(methods, "ProcessPoolExecutor", Pool)
    monkeypatch.setattr(methods, "prepare", lambda plan, parts: made_photographs())
    part = next(iter(TABLES))
    found = methods.compute_all(PLAN, [part], tmp_path, workers=1, limit=1000.0)
    assert len(found.cells) == 1
    assert len((tmp_path / "cells.jsonl").read_text().splitlines()) == 2
    assert "a process was killed" in capsys.readouterr().out
