"""The ablation pipeline: a grid of settings, trained cell by cell and compared on VAL_SELECT."""

from __future__ import annotations

import logging
from typing import Any

from click import ClickException
from zenml import pipeline

from pipelines.training import resolved_settings
from roadwork.ablation.expansion import expand
from roadwork.data.profile import profile_fingerprint
from roadwork.data.sources import fingerprint_of
from roadwork.errors import ConfigError, DataError
from roadwork.settings import Settings
from roadwork.settings.ablation import parse_ablation
from steps.ablate_cell import ablate_cell
from steps.ablate_fold import ablate_fold
from steps.ablate_publish import ablate_publish
from steps.ablate_register import ablate_register
from steps.ablate_start import ablate_start
from steps.ablate_table import ablate_table
from steps.ingest import ingest
from steps.shard import shard
from steps.split_validate import split_validate

__all__ = ["ablation_pipeline"]

logger = logging.getLogger(__name__)
_TOLD = ("data", "split", "backbone", "pretrain", "finetune", "compute", "register")


@pipeline(name="ablation_pipeline")
def ablation_pipeline(
    settings: dict[str, Any] | None = None, ablation: dict[str, Any] | None = None
) -> None:
    """Ingest, split, train every cell, compare.

    Cells do not depend on each other: an orchestrator that can runs them at the same time. Of the
    five sets only TRAIN and VAL_SELECT go anywhere.

    Args:
        settings: a tree of :class:`roadwork.settings.Settings`; what the variants have in common.
        ablation: a tree of :class:`roadwork.settings.ablation.AblationSettings`; the grid.
    """
    try:
        run = resolved_settings(settings or {})
        grid = expand({**(settings or {}), "runs": str(run.runs)}, parse_ablation(ablation))
        data_fingerprint = fingerprint_of(run)
        reference_fingerprint = profile_fingerprint(run.data.reference)
    except (ConfigError, DataError) as error:
        # The command line of ZenML shows this as one message; anything else as a traceback.
        raise ClickException(str(error)) from error
    logger.info("ablation: %s", grid.describe())
    manifest, _ = ingest(run.only("data"), data_fingerprint)
    train, select, *_ = split_validate(manifest, run.only("data", "split"), reference_fingerprint)
    if run.data.shards.to is not None:
        train = shard(train, run.only("data"))
    sets: dict[int | None, Any] = {None: (train, select, select)}
    if grid.folds is not None:
        sets = {
            number: ablate_fold(train, select, grid.folds, number, run.seed, id=f"fold_{number}")
            for number in range(grid.folds)
        }
    backbones: dict[tuple[int | None, str], Any] = {}
    results = []
    for cell in grid.cells():
        fold_train, fold_select, fold_judged = sets[cell.fold]
        start = grid.pretraining(cell)
        key = (cell.fold, start.model_dump_json())
        if key not in backbones:
            backbones[key] = ablate_start(fold_train, start, id=f"start_{len(backbones):02d}")
        results.append(
            ablate_cell(
                backbones[key],
                fold_train,
                fold_select,
                fold_judged,
                grid.settings(cell),
                id=cell.name,
            )
        )
    synthetic = any(source.kind == "synthetic" for source in run.data.sources)
    report = ablate_table(results, grid, run.name, synthetic, run.seed)
    told = run.only("name", *_TOLD)
    ablate_register(report, manifest, told)
    ablate_publish(report, Settings(runs=run.runs))
