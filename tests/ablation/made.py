"""A small grid and made results of its cells: no training behind them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from roadwork.ablation.cell import ANSWERS, CellRecord, CellResult, cell_key
from roadwork.ablation.expansion import expand
from roadwork.ablation.grid import Cell, Grid
from roadwork.ablation.record import AblationReport
from roadwork.ablation.table import tabulate
from roadwork.settings.ablation import parse_ablation

IMAGES = 96
LABELS = np.arange(IMAGES) % 2
AXES: Mapping[str, Any] = {
    "finetune.adapter": ["lora", "dora"],
    "finetune.loss.name": ["cross_entropy", "focal"],
}


def small_grid(**changes: Any) -> Grid:
    tree = {"axes": AXES, "seeds": [0, 1], "bootstrap": 200, **changes}
    return expand({"name": "made"}, parse_ablation(tree))


def result(
    grid: Grid, cell: Cell, log_odds: np.ndarray, rows: np.ndarray | None = None
) -> CellResult:
    """Answers on the images of ``rows``, all by default, four of which make a group."""
    rows = np.arange(IMAGES) if rows is None else rows
    record = CellRecord(
        key=cell_key(grid.settings(cell)),
        best_epoch=cell.seed + 1,
        temperature=1.0,
        trained=1000,
        weights=4000,
        views=10,
        seconds=2.0 + cell.seed,
    )
    columns = [
        pa.array([f"{row:016x}" for row in rows]),
        pa.array([f"drive-{row // 4:03d}" for row in rows]),
        pa.array(LABELS[rows]),
        pa.array(log_odds),
    ]
    return CellResult(record, pa.Table.from_arrays(columns, schema=ANSWERS))


def failed(grid: Grid, cell: Cell, reason: str = "the loss is nan") -> CellResult:
    record = CellRecord(key=cell_key(grid.settings(cell)), failure=reason, seconds=1.0)
    return CellResult(record, ANSWERS.empty_table())


def answers(strength: float, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 1, IMAGES)
    return (2 * LABELS - 1) * strength + noise


def by_strength(
    strengths: Mapping[int, float], failing: tuple[int, ...] = ()
) -> Callable[[Grid, Cell], CellResult]:
    """Variants that are as good as their strength."""

    def build(grid: Grid, cell: Cell) -> CellResult:
        if cell.variant in failing and cell.seed == grid.seeds[-1]:
            return failed(grid, cell)
        return result(grid, cell, answers(strengths[cell.variant], 10 * cell.variant + cell.seed))

    return build


def report(
    build: Callable[[Grid, Cell], CellResult], grid: Grid | None = None, synthetic: bool = True
) -> AblationReport:
    grid = grid or small_grid()
    results = [build(grid, cell) for cell in grid.cells()]
    return tabulate(grid, results, name="made", synthetic=synthetic, seed=3)
