"""Step of an ablation: compare the variants on the same resampled groups."""

from __future__ import annotations

from typing import Annotated

from zenml import step

import materializers  # noqa: F401
from roadwork.ablation.cell import CellResult
from roadwork.ablation.grid import Grid
from roadwork.ablation.record import AblationReport
from roadwork.ablation.table import tabulate
from steps.caching import library_cache


@step(cache_policy=library_cache("roadwork.ablation.table"))
def ablate_table(
    cells: list[CellResult], grid: Grid, name: str, synthetic: bool, seed: int
) -> Annotated[AblationReport, "ablation"]:
    """One row a variant, failed ones included."""
    return tabulate(grid, cells, name=name, synthetic=synthetic, seed=seed)
