"""Ways to train on sources with other label priors, judged on a source never seen.

``python -m benchmarks.domain --out DIR`` draws scenes of three camera families whose shares of
roadwork differ (0.85, 0.6, 0.3), holds each family out once, and trains every method of
``METHODS`` on the other two, from the same probe and on the same decoded views. It prints a table
and writes ``domain.json`` (every answer included) and ``domain.md``. Seeds run in processes of
their own; each also draws other scenes. ``--quick`` is there to see that it runs.

The scenes are generated: the figures compare methods on this generator, and are no evidence about
real roads.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

METHODS: Mapping[str, Mapping[str, Any]] = {
    "plain": {},
    "balanced": {"sampling": {"balance": "source_and_class"}},
    "prior correction": {"prior_correction": "source"},
    "DANN": {"domain": {"method": "dann"}},
    "conditional DANN": {"domain": {"method": "cdann"}},
    "group DRO": {"domain": {"method": "group_dro"}},
}
FIGURES = ("auroc", "mcc", "nll")
TITLES = {"auroc": "AUROC", "mcc": "MCC at 0.5", "nll": "NLL"}
RESAMPLES = 2000


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    seeds: tuple[int, ...] = (0, 1, 2)
    drives: int = 300
    size: int = 96
    tiles: int = 9
    epochs: int = 4
    batch: int = 16
    threads: int = 2
    seconds: float = 480.0
    held_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cell:
    """One method with one seed and one source held out.

    ``chosen`` is the pass that was chosen; 0 is the probe, and then nothing was gained by training.
    """

    method: str
    seed: int
    source: str
    chosen: int
    seconds: float
    domain: Mapping[str, Any]
    labels: list[int] = field(repr=False)
    groups: list[str] = field(repr=False)
    probabilities: list[float] = field(repr=False)


def settings_of(plan: Plan, seed: int, changes: Mapping[str, Any], runs: Path) -> Any:
    """Resolved settings of one run."""
    from roadwork.settings import parse_settings, resolve

    finetune = {"epochs": plan.epochs, "batch_size": plan.batch}
    return resolve(
        parse_settings(
            {
                "name": "domain",
                "seed": seed,
                "runs": str(runs),
                "data": {
                    "workers": plan.threads,
                    "sources": [
                        {"kind": "synthetic", "drives": plan.drives, "faults": False, "prior": None}
                    ],
                },
                "split": {"select": 0.12, "calibrate": 0.12, "conformal": 0.06, "test": 0.05},
                "backbone": {
                    "name": "tf_efficientnet_lite0",
                    "weights": "package",
                    "image_size": plan.size,
                    "views": {"tiles": plan.tiles},
                },
                "pretrain": {"enabled": False},
                "finetune": {**finetune, **changes},
                "compute": {"checkpoint_every": 10**6},
            }
        )
    )


def run_seed(plan: Plan, seed: int) -> list[Cell]:
    """All methods and held-out sources of one seed, as far as the time goes."""
    import torch

    from roadwork.data.ingest import ingest
    from roadwork.data.sources import open_sources
    from roadwork.evaluation.leave_one_out import leave_one_source_out, score_held_out
    from roadwork.models.backbone import load_backbone
    from roadwork.training.probe import fit_probe
    from roadwork.training.views import SharedViews

    warnings.simplefilter("ignore")
    logging.getLogger("roadwork").setLevel(logging.ERROR)
    torch.set_num_threads(plan.threads)
    start = time.monotonic()
    cells: list[Cell] = []
    with tempfile.TemporaryDirectory(prefix="roadwork-domain-") as made:
        runs = Path(made)
        settings = settings_of(plan, seed, {}, runs)
        manifest = ingest(open_sources(settings), settings.data)
        say(seed, start, f"{len(manifest)} images drawn and read")
        views = SharedViews(settings, memory=8 << 30)
        backbone = load_backbone(settings.backbone, seed)
        for source, splits in leave_one_source_out(manifest, settings):
            if plan.held_out and source not in plan.held_out:
                continue
            if time.monotonic() - start > plan.seconds:
                say(seed, start, f"out of time: {source} is not held out")
                continue
            probe = fit_probe(backbone, splits.train, settings, views(splits.train))
            say(seed, start, f"probe without {source}, {len(splits.train)} images")
            for method, changes in METHODS.items():
                began = time.monotonic()
                if began - start > plan.seconds:
                    say(seed, start, f"out of time: {method} without {source} is not run")
                    continue
                found = score_held_out(
                    source,
                    splits,
                    backbone,
                    settings_of(plan, seed, changes, runs),
                    runs / "checkpoints",
                    views=views,
                    baseline=probe,
                )
                assert found.scored.groups is not None
                cells.append(
                    Cell(
                        method=method,
                        seed=seed,
                        source=source,
                        chosen=found.tuned.history["best_epoch"],
                        seconds=round(time.monotonic() - began, 1),
                        domain=found.tuned.history.get("domain", {}),
                        labels=found.scored.labels.tolist(),
                        groups=[str(group) for group in found.scored.groups],
                        probabilities=found.scored.probabilities[:, 1].tolist(),
                    )
                )
            say(seed, start, f"{source} held out by {len(METHODS)} methods")
    return cells


def say(seed: int, start: float, text: str) -> None:
    """One line of progress."""
    print(f"seed {seed} {time.monotonic() - start:5.0f} s: {text}", flush=True)


def scored(cell: Cell) -> Any:
    """The cell's answers as a scored set."""
    from roadwork.evaluation.scored import ScoredSet

    p = np.array(cell.probabilities)
    return ScoredSet(
        np.stack([1 - p, p], axis=1), np.array(cell.labels), groups=np.array(cell.groups)
    )


def draws(cell: Cell, figure: str, resample: bool) -> NDArray[np.float64]:
    """The figure itself, (1,), or resampled over drives, (RESAMPLES,); alike for all methods."""
    from roadwork.evaluation.bootstrap import resample_weights
    from roadwork.evaluation.metrics import METRICS as REGISTRY

    found = scored(cell)
    if not resample:
        return REGISTRY[figure].batch(found, np.ones((1, found.n)))
    blocks = resample_weights(found, RESAMPLES, seed=cell.seed)
    return np.concatenate([REGISTRY[figure].batch(found, weights) for weights in blocks])


def over_cells(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Mean over cells (C,) and its 95 % t-interval."""
    from scipy.stats import t

    mean, count = float(values.mean()), len(values)
    if count < 2:
        return mean, float("nan"), float("nan")
    half = float(t.ppf(0.975, count - 1) * values.std(ddof=1) / np.sqrt(count))
    return mean, mean - half, mean + half


def over_drives(values: NDArray[np.float64]) -> tuple[float, float]:
    """Percentile interval of the mean over cells, from draws (C, RESAMPLES) of every cell."""
    low, high = np.nanpercentile(np.nanmean(values, axis=0), [2.5, 97.5])
    return float(low), float(high)


def summarise(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """Figures by method, and their differences to plain training, paired by seed and source."""
    keys = sorted(
        {
            (cell.seed, cell.source)
            for cell in cells
            if sum((c.seed, c.source) == (cell.seed, cell.source) for c in cells) == len(METHODS)
        }
    )
    by = {(cell.method, cell.seed, cell.source): cell for cell in cells}
    if not keys:
        raise SystemExit("no source was held out by all methods in time: raise --seconds")
    rows = []
    for method in METHODS:
        row: dict[str, Any] = {
            "method": method,
            "cells": len(keys),
            "probe_chosen": sum(by[method, *key].chosen == 0 for key in keys),
            "domain_accuracy": domain_accuracy([by[method, *key] for key in keys]),
        }
        for figure in FIGURES:
            own = np.concatenate([draws(by[method, *key], figure, False) for key in keys])
            plain = np.concatenate([draws(by["plain", *key], figure, False) for key in keys])
            again = np.stack([draws(by[method, *key], figure, True) for key in keys])
            against = np.stack([draws(by["plain", *key], figure, True) for key in keys])
            row[figure] = {
                "mean": over_cells(own),
                "drives": over_drives(again),
                "difference": over_cells(own - plain),
                "difference_drives": over_drives(again - against),
                "by_source": {
                    source: float(
                        np.mean([v for v, key in zip(own, keys, strict=True) if key[1] == source])
                    )
                    for source in sorted({key[1] for key in keys})
                },
            }
        rows.append(row)
    return rows


def domain_accuracy(cells: Sequence[Cell]) -> tuple[float, float] | None:
    """Mean accuracy of the domain heads in the last pass, and of guessing; None without heads."""
    last = [cell.domain["passes"][-1] for cell in cells if cell.domain]
    if not last or "domain_accuracy" not in last[0]:
        return None
    return (
        float(np.mean([figures["domain_accuracy"] for figures in last])),
        float(np.mean([figures["domain_chance"] for figures in last])),
    )


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Two tables: the figures, and the differences to plain training."""
    sources = list(rows[0]["auroc"]["by_source"])
    lines = [
        "| method | "
        + " | ".join(TITLES[f] for f in FIGURES)
        + " | "
        + " | ".join(f"AUROC on {s}" for s in sources)
        + " | probe kept | domain heads |",
        "|---|" + "---|" * (len(FIGURES) + len(sources) + 2),
    ]
    for row in rows:
        heads = row["domain_accuracy"]
        shown = "" if heads is None else f"{heads[0]:.2f} (chance {heads[1]:.2f})"
        figures = " | ".join(interval(*row[f]["mean"]) for f in FIGURES)
        own = " | ".join(f"{row['auroc']['by_source'][s]:.3f}" for s in sources)
        kept = f"{row['probe_chosen']} of {row['cells']}"
        lines.append(f"| {row['method']} | {figures} | {own} | {kept} | {shown} |")
    lines += [
        "",
        "| difference to plain | "
        + " | ".join(
            f"{TITLES[f]}, over seeds and sources | {TITLES[f]}, over drives" for f in FIGURES
        )
        + " |",
        "|---|" + "---|" * (2 * len(FIGURES)),
    ]
    for row in rows[1:]:
        parts = []
        for f in FIGURES:
            low, high = row[f]["difference_drives"]
            parts += [interval(*row[f]["difference"], sign="+"), f"[{low:+.3f}, {high:+.3f}]"]
        lines.append(f"| {row['method']} | " + " | ".join(parts) + " |")
    return "\n".join(lines)


def interval(mean: float, low: float, high: float, sign: str = "") -> str:
    """A mean with its interval."""
    return f"{mean:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs") / "benchmarks")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(Plan.seeds))
    parser.add_argument("--drives", type=int, default=Plan.drives)
    parser.add_argument("--size", type=int, default=Plan.size, help="edge of a view in pixels")
    parser.add_argument("--epochs", type=int, default=Plan.epochs)
    parser.add_argument("--seconds", type=float, default=Plan.seconds, help="start nothing later")
    parser.add_argument("--held-out", nargs="*", default=[], help="these families alone")
    parser.add_argument(
        "--join", type=Path, nargs="*", default=[], help="domain.json of runs with other families"
    )
    parser.add_argument("--quick", action="store_true", help="one seed, few drives, one pass")
    wanted = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    plan = Plan(
        seeds=tuple(wanted.seeds),
        drives=wanted.drives,
        size=wanted.size,
        epochs=wanted.epochs,
        seconds=wanted.seconds,
        threads=max(1, cores // len(wanted.seeds)),
        held_out=tuple(wanted.held_out),
    )
    if wanted.quick:
        plan = replace(plan, seeds=(0,), drives=36, size=48, tiles=0, epochs=1, threads=cores)
    wanted.out.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    workers = max(1, min(len(plan.seeds), cores // 2))
    if workers == 1:
        parts = [run_seed(plan, seed) for seed in plan.seeds]
    else:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            parts = list(pool.map(run_seed, [plan] * len(plan.seeds), plan.seeds))
    cells = [cell for part in parts for cell in part]
    for earlier in wanted.join:
        cells += [Cell(**cell) for cell in json.loads(earlier.read_text())["cells"]]
    rows = summarise(cells)
    table = markdown(rows)
    seconds = round(time.monotonic() - start)
    note = (
        f"{rows[0]['cells']} pairs of a seed and a held-out source; {plan.drives} generated drives "
        f"a seed, {plan.size} px, {plan.epochs} passes, {seconds} s. Intervals of 95 %: t over the "
        "pairs (as if independent; sources repeat), and the bootstrap over drives with the trained "
        "models fixed. Generated scenes: no evidence about real roads."
    )
    print(f"\n{table}\n\n{note}")
    (wanted.out / "domain.md").write_text(f"{table}\n\n{note}\n")
    record = {"plan": asdict(plan), "rows": rows, "cells": [asdict(cell) for cell in cells]}
    (wanted.out / "domain.json").write_text(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
