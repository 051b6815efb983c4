"""What one process of ``benchmarks.methods`` does: train a cell."""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import time
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.methods_plan import RUNS, Cell, Plan, settings_of, views_file
from benchmarks.photographs import KeptViews, Photographs, Sets
from roadwork.data.views import Tiles


def quiet() -> None:
    """One thread, and no lines but ours."""
    import torch

    warnings.simplefilter("ignore")
    for name in ("roadwork", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    torch.set_num_threads(1)


@functools.cache
def opened(plan: Plan) -> Photographs:
    """The photographs, once for each process."""
    return Photographs.load(Path(plan.scratch, "manifest"), plan.folds)


@functools.cache
def kept_views(plan: Plan, tiles: Tiles) -> KeptViews:
    """Their views, likewise."""
    photographs = opened(plan)
    path = views_file(plan, photographs.fingerprint, tiles)
    return KeptViews(photographs, path, plan.size, tiles)


@functools.lru_cache(maxsize=2)
def backbone_of(plan: Plan, vit: bool) -> Any:
    """Where a run starts, likewise."""
    from roadwork.models.backbone import load_backbone

    run = "vit probe" if vit else "probe"
    return load_backbone(settings_of(plan, Cell(run, 0.0, 0, 0)).backbone, 0)


def probe_of(plan: Plan, cell: Cell, sets: Sets, views: KeptViews) -> Any:
    """The probe of the cell's views and fold, fitted once for all runs."""
    from roadwork.models.classifier import Classifier
    from roadwork.training.probe import fit_probe

    run = RUNS[cell.run]
    settings = settings_of(plan, cell)
    key = [run.vit, run.both, settings.backbone.model_dump_json()]
    key += [cell.seed, cell.fold, cell.unseen, plan.folds, opened(plan).fingerprint]
    name = hashlib.sha256(repr(key).encode()).hexdigest()[:16]
    folder = Path(plan.scratch, "probes", name)
    if folder.exists():
        return Classifier.load(folder)
    train = sets.both if run.both else sets.train
    probe = fit_probe(backbone_of(plan, run.vit), train, settings, views(train))
    partial = folder.with_name(f"{name}.{os.getpid()}")
    partial.mkdir(parents=True)
    probe.save(partial)
    if not folder.exists():  # two processes at once write the same
        partial.rename(folder)
    return probe


def margins_of(classifier: Any, reader: Any) -> NDArray[np.float64]:
    """Logit of roadwork less that of none, (N,), of all rows of a reader."""
    import torch

    from roadwork.models.inference import run_batches

    network = classifier.network.eval().to("cuda" if torch.cuda.is_available() else "cpu")
    logits = run_batches(network, reader, "Scoring")
    return logits[:, 1] - logits[:, 0]


def temperature(margins: NDArray[np.float64], labels: NDArray[np.int64]) -> float | None:
    """That of least loss; None where there is none, as for a part told apart without an error."""
    from roadwork.calibration.temperature import TemperatureScaling

    found = TemperatureScaling.fit(np.stack([-margins / 2, margins / 2], axis=1), labels)
    return None if found.at_bound else found.temperature


def compute(plan: Plan, cell: Cell) -> dict[str, Any]:
    """Train one cell and answer what its fold holds out."""
    import torch

    from roadwork.data.contract import validate_final_eval
    from roadwork.training.finetune import finetune

    quiet()
    start = time.monotonic()
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    run, settings = RUNS[cell.run], settings_of(plan, cell)
    sets = opened(plan).sets(cell.seed, cell.fold, cell.unseen)
    views = kept_views(plan, settings.backbone.views.tiles)
    classifier = probe_of(plan, cell, sets, views)
    chosen, losses = 0, []
    if run.finetune is not None:
        tuned = finetune(
            backbone_of(plan, run.vit),
            sets.train,
            sets.select,
            settings,
            Path(plan.scratch, "checkpoints"),
            views=views,
            baseline=classifier,
        )
        classifier = tuned.classifier
        chosen, losses = tuned.history["best_epoch"], tuned.history["select_nll"]
    validate_final_eval([classifier], sets.test)
    chooses = margins_of(classifier, views(sets.select))
    return {
        "cell": asdict(cell),
        "chosen": chosen,
        "select_nll": losses,
        "rows": sets.rows.tolist(),
        "margins": margins_of(classifier, views(sets.test)).tolist(),
        "select_margins": chooses.tolist(),
        "select_labels": sets.select.labels.tolist(),
        # A probe that was fitted on the selection part has nothing left to find one with.
        "temperature": None if run.both else temperature(chooses, sets.select.labels),
        "seconds": round(time.monotonic() - start, 2),
        "gigabytes": round(torch.cuda.max_memory_allocated() / 1e9, 2) if cuda else None,
    }
