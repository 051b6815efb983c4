"""The record of an ablation: what was run, what came out, and what can be said about it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from roadwork.ablation.comparison import METRICS_SHOWN, Difference, Seeded
from roadwork.ablation.grid import Axis

__all__ = ["AblationReport", "CellRow", "Effect", "VariantRow"]


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class CellRow(_Row):
    """One cell: what it was, and what became of it; the figures are those of its own images."""

    name: str
    seed: int
    fold: int | None
    failure: str | None
    best_epoch: int | None
    seconds: float
    metrics: Mapping[str, float | None]


class VariantRow(_Row):
    """One variant.

    Attributes:
        name: its values in words.
        labels: its value of every axis.
        overrides: dotted keys and what they are set to.
        also: combinations that resolve to the same settings.
        cells: one a seed and fold.
        metrics: by name; empty where a cell failed.
        differences: to the baseline, by metric; empty for the baseline itself and where one of the
            two has a failed cell.
        trained: weights that are trained, the head included.
        views: views of a photograph that an answer looks at.
        seconds: mean over the cells, without pretraining.
    """

    name: str
    labels: tuple[str, ...]
    overrides: Mapping[str, Any]
    also: tuple[str, ...]
    cells: tuple[CellRow, ...]
    metrics: Mapping[str, Seeded]
    differences: Mapping[str, Difference]
    trained: int | None
    views: int | None
    seconds: float

    @property
    def failures(self) -> tuple[str, ...]:
        """Distinct reasons of failed cells."""
        return tuple(dict.fromkeys(cell.failure for cell in self.cells if cell.failure))


class Effect(_Row):
    """What one value of an axis does, compared with the baseline's value of that axis.

    Attributes:
        axis: its key.
        value: a label.
        reference: the baseline's label.
        pairs: variants that differ in this axis alone, over which the mean is taken.
        differences: by metric; empty without pairs.
    """

    axis: str
    value: str
    reference: str
    pairs: int
    differences: Mapping[str, Difference]


class AblationReport(_Row):
    """Everything that the page shows.

    Attributes:
        name: of the base settings.
        synthetic: whether generated scenes are among the images.
        metric: what decides.
        images: judged ones.
        groups: of these images; whole groups are resampled.
        roadwork: share of images that show it.
        folds: of the cross-validation; None where VAL_SELECT judges.
        seeds: of the trainings.
        resamples: of the bootstrap.
        axes: in the order written.
        variants: in the order of the grid.
        baseline: number of the variant that the others are compared with.
        winner: number of the variant with the best mean; None where all failed.
        effects: of every axis with more than one value, where there are several axes.
        grid_hash: changes with anything in the grid, and with what all its variants share.
        code_version: of roadwork.
    """

    name: str
    synthetic: bool
    metric: str
    images: int
    groups: int
    roadwork: float | None
    folds: int | None
    seeds: tuple[int, ...]
    resamples: int
    axes: tuple[Axis, ...]
    variants: tuple[VariantRow, ...]
    baseline: int
    winner: int | None
    effects: tuple[Effect, ...]
    grid_hash: str
    code_version: str

    def to_json(self) -> str:
        """The whole record; equal records, equal text."""
        return json.dumps(self.model_dump(mode="json"), indent=1, sort_keys=True, allow_nan=False)

    def to_table(self) -> pa.Table:
        """One row a cell: variant, one column an axis, seed, fold, metrics, seconds, failure."""
        rows = [
            {
                "variant": row.name,
                **{axis.key: label for axis, label in zip(self.axes, row.labels, strict=True)},
                **cell.model_dump(exclude={"name", "metrics"}),
                **{name: cell.metrics.get(name) for name in METRICS_SHOWN},
            }
            for row in self.variants
            for cell in row.cells
        ]
        columns = ["variant", *(axis.key for axis in self.axes)]
        schema = pa.schema(
            [
                *[(name, pa.string()) for name in columns],
                ("seed", pa.int64()),
                ("fold", pa.int64()),
                ("failure", pa.string()),
                ("best_epoch", pa.int64()),
                ("seconds", pa.float64()),
                *[(name, pa.float64()) for name in METRICS_SHOWN],
            ]
        )
        return pa.Table.from_pylist(rows, schema=schema)
