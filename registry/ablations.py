"""Ablations in MLflow: one run for the whole, and below it one run for each variant.

Names that stay. Of the parent: ``ablation/variants``, ``ablation/cells``, ``ablation/failed``,
``ablation/best.<metric>``. Of a variant: ``select/<metric>``, ``select/<metric>.spread``,
``difference/<metric>`` with ``.low`` and ``.high``, ``difference/adjusted_p``,
``cost/trained_weights``, ``cost/views`` and ``cost/seconds``; its axes and overrides are
parameters.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from registry.connection import Registry, registry_errors
from registry.provenance import code_tags
from registry.runs import flatten, log_figures, one_run
from registry.tags import DATA_HASH
from registry.tracking import registry_of
from roadwork.ablation.files import write_files
from roadwork.ablation.record import AblationReport, VariantRow
from roadwork.settings import Settings

__all__ = ["GRID_HASH", "register_ablation"]

GRID_HASH = "roadwork.ablation"
"""Tag of the parent run: changes with anything in the grid, and with what its variants share."""

_PARENT = "mlflow.parentRunId"


def register_ablation(
    report: AblationReport,
    settings: Settings,
    *,
    run_name: str,
    data_hash: str,
    registry: Registry | None = None,
) -> str:
    """Log the table, its files and every variant.

    Args:
        report: the finished table.
        settings: resolved base settings; every leaf becomes a parameter of the parent.
        run_name: name of the parent.
        data_hash: content hash of the manifest.
        registry: where to; by default what the environment and the settings name.

    Returns:
        Identifier of the parent run.

    Raises:
        RegistryError: MLflow refused; the run is then marked as failed.
    """
    registry = registry or registry_of(settings)
    tags = {GRID_HASH: report.grid_hash, DATA_HASH: data_hash, **code_tags()}
    with (
        registry_errors(f"cannot register the ablation {report.name}"),
        one_run(registry, run_name, tags, None) as parent,
    ):
        log_figures(registry, parent, flatten(settings.model_dump(mode="json")), _summary(report))
        with tempfile.TemporaryDirectory() as folder:
            write_files(report, Path(folder), "ablation")
            registry.client.log_artifacts(parent, folder)
        for row in report.variants:
            with one_run(registry, row.name, {_PARENT: parent}, None) as child:
                axes = dict(zip((axis.key for axis in report.axes), row.labels, strict=True))
                params = {
                    **{f"axis.{key}": label for key, label in axes.items()},
                    **flatten(row.overrides),
                    "failure": "; ".join(row.failures)[:500] or "none",
                }
                log_figures(registry, child, params, _figures(row, report.metric))
    return parent


def _summary(report: AblationReport) -> dict[str, float]:
    figures: dict[str, float | None] = {
        "ablation/variants": len(report.variants),
        "ablation/cells": sum(len(row.cells) for row in report.variants),
        "ablation/failed": sum(bool(row.failures) for row in report.variants),
    }
    if report.winner is not None:
        best = report.variants[report.winner].metrics
        figures |= {f"ablation/best.{name}": found.mean for name, found in best.items()}
    return {name: value for name, value in figures.items() if value is not None}


def _figures(row: VariantRow, deciding: str) -> dict[str, float]:
    figures: dict[str, float | None] = {
        "cost/trained_weights": row.trained,
        "cost/views": row.views,
        "cost/seconds": row.seconds,
    }
    for name, found in row.metrics.items():
        figures |= {f"select/{name}": found.mean, f"select/{name}.spread": found.spread}
    for name, found in row.differences.items():
        figures |= {
            f"difference/{name}": found.value,
            f"difference/{name}.low": found.low,
            f"difference/{name}.high": found.high,
        }
        if name == deciding:
            figures["difference/adjusted_p"] = found.adjusted
    return {name: value for name, value in figures.items() if value is not None}
