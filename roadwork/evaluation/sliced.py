"""The slices that the settings ask for: their columns, and the metrics of every one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from roadwork.data.manifest import TestSet
from roadwork.errors import ConfigError
from roadwork.evaluation.scored import ScoredSet
from roadwork.evaluation.slices import SliceReport, slice_metrics
from roadwork.settings import Settings

__all__ = ["GAP_METRIC", "slice_columns", "slice_reports"]

SLICED: tuple[str, ...] = ("auroc", "mcc", "recall", "accuracy", "brier")
GAP_METRIC = "auroc"
"""The metric in which every slice is set against the rest of the test set."""


def slice_columns(settings: Settings, test: TestSet) -> dict[str, Sequence[object]]:
    """Values (N,) of the columns of ``settings.evaluate.slices`` that hold any value.

    Raises:
        ConfigError: the test set has no such column.
    """
    known = test.table.column_names
    unknown = [name for name in settings.evaluate.slices if name not in known]
    if unknown:
        raise ConfigError(
            f"evaluate.slices: the manifest has no column {', '.join(unknown)}; known are "
            f"{', '.join(known)}"
        )
    values = {name: test.column(name) for name in settings.evaluate.slices}
    return {
        name: column
        for name, column in values.items()
        if any(value is not None for value in column)
    }


def slice_reports(
    scored: ScoredSet, columns: Mapping[str, Sequence[object]], *, resamples: int, seed: int
) -> tuple[SliceReport, ...]:
    """Metrics of every slice of every column."""
    return tuple(
        slice_metrics(scored, name, column, SLICED, resamples=resamples, seed=seed)
        for name, column in columns.items()
    )
