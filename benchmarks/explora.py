"""ExPLoRA across a domain shift: does adapting without labels help what is learned afterwards?

``python -m benchmarks.explora --out DIR`` draws scenes of three camera families with the same share
of roadwork. A small transformer is trained in full on labelled drives of two of them: the start.
The third is the target: ExPLoRA sees its training drives without labels, and a few of them with
labels serve to fit a probe, LoRA or all weights, from the start and from ExPLoRA's result. All is
judged on the target's held-out drives, and the start on its own too. It prints a table and writes
``explora.json`` (every answer included) and ``explora.md``. Seeds run in processes of their own;
each also draws other scenes. ``--quick`` is there to see that it runs.

The scenes are generated and so is the start: the figures compare methods on this generator, and are
no evidence about real roads or about DINOv3's weights.
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
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SOURCE = "start on its own families"
METHODS = (
    SOURCE,
    "start as it is",
    "probe",
    "LoRA",
    "full",
    "ExPLoRA, probe",
    "ExPLoRA, LoRA",
    "ExPLoRA, full",
)
BASELINES = {"ExPLoRA, probe": "probe", "ExPLoRA, full": "full", SOURCE: SOURCE}
"""What a row is compared with, unless it is with LoRA; itself: nothing."""
FIGURES = ("auroc", "mcc")
TITLES = {"auroc": "AUROC", "mcc": "MCC at the threshold of VAL_SELECT"}
RESAMPLES = 2000


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    seeds: tuple[int, ...] = (0, 1, 2)
    source: tuple[str, ...] = ("natix-like", "roadwork-like")
    target: str = "vistas-like"
    drives: int = 360
    labelled: int = 16
    size: int = 128
    start_epochs: int = 30
    pretrain_epochs: int = 120
    epochs: int = 12
    pretrain: Mapping[str, Any] = field(default_factory=dict)
    threads: int = 2
    seconds: float = 210.0
    weights: str = ""


@dataclass(frozen=True)
class Cell:
    """One method with one seed: its answers on the test drives, and the pass chosen."""

    method: str
    seed: int
    chosen: int
    seconds: float
    threshold: float
    labels: list[int] = field(repr=False)
    groups: list[str] = field(repr=False)
    probabilities: list[float] = field(repr=False)


def settings_of(plan: Plan, seed: int, runs: Path, **finetune: Any) -> Any:
    """Resolved settings; ``finetune`` differs from run to run."""
    from roadwork.settings import parse_settings, resolve

    return resolve(
        parse_settings(
            {
                "name": "explora",
                "seed": seed,
                "runs": str(runs),
                "data": {
                    "workers": plan.threads,
                    "sources": [{"kind": "synthetic", "drives": plan.drives, "faults": False}],
                },
                "split": {"select": 0.12, "calibrate": 0.04, "conformal": 0.04, "test": 0.35},
                "backbone": {
                    "name": "vit_pico_patch16_dinov3",
                    "weights": "local" if plan.weights else "random",
                    "weights_path": plan.weights or None,
                    "image_size": plan.size,
                    "views": {"tiles": 0},
                },
                "pretrain": {
                    "epochs": plan.pretrain_epochs,
                    "batch_size": 64,
                    "prototypes": 1024,
                    "hidden": 512,
                    **plan.pretrain,
                },
                "finetune": {"patience": 100, **finetune},
                "compute": {"checkpoint_every": 10**6},
            }
        )
    )


def families(manifest: Any, *names: str) -> Any:
    """The images of some camera families."""
    import pyarrow as pa

    table = manifest.table
    own = np.isin(table.column("source").to_pylist(), names)
    return replace(manifest, table=table.filter(pa.array(own)))


def small(uri: str, size: int) -> Any:
    """A picture with a short side of 1.5 times the global crops' edge.

    The smallest global crops, 0.4 of the area, then have about as many pixels as they are drawn
    with, and no time goes into shrinking large pictures again and again.
    """
    from roadwork.data.loading import read_image

    image = read_image(uri)
    scale = 1.5 * size / min(image.size)
    return image.resize((round(image.width * scale), round(image.height * scale)))


def few_drives(train: Any, count: int, seed: int) -> Any:
    """The labelled share: ``count`` drives of a training set, drawn at random."""
    import pyarrow as pa

    from roadwork.data.manifest import TrainSet

    drives = np.unique(train.groups)
    chosen = np.random.default_rng(seed).choice(drives, min(count, len(drives)), replace=False)
    return TrainSet(train.table.filter(pa.array(np.isin(train.groups, chosen))))


def backbone_of(classifier: Any, start: Any) -> Any:
    """The backbone inside a classifier that was trained in full."""
    import copy

    return replace(
        start,
        network=copy.deepcopy(classifier.network.backbone),
        origin="all weights trained on scenes of the source family",
        learned=True,
        exposure=classifier.exposure,
    )


def best_threshold(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """The threshold with the largest MCC; the middle between two answers."""
    ordered = np.unique(probabilities)
    candidates = np.append((ordered[1:] + ordered[:-1]) / 2, 0.5)
    values = [mcc(probabilities >= threshold, labels) for threshold in candidates]
    return float(candidates[int(np.argmax(values))])


def mcc(answers: NDArray[np.bool_], labels: NDArray[np.int64]) -> float:
    """Matthews correlation of two columns of yes and no; 0 where one is constant."""
    if answers.min() == answers.max() or labels.min() == labels.max():
        return 0.0
    return float(np.corrcoef(answers, labels)[0, 1])


def run_seed(plan: Plan, seed: int) -> tuple[list[Cell], dict[str, Any]]:
    """All methods with one seed, as far as the time goes, and what ExPLoRA told of itself."""
    import torch

    from roadwork.calibration.base import softmax
    from roadwork.data.ingest import ingest
    from roadwork.data.sources import open_sources
    from roadwork.data.splits import cut
    from roadwork.models.backbone import load_backbone
    from roadwork.models.inference import run_batches
    from roadwork.training.finetune import finetune
    from roadwork.training.pretrain import pretrain
    from roadwork.training.views import SharedViews

    warnings.simplefilter("ignore")
    logging.getLogger("roadwork").setLevel(logging.ERROR)
    torch.set_num_threads(plan.threads)
    begin = time.monotonic()
    cells: list[Cell] = []
    with tempfile.TemporaryDirectory(prefix="roadwork-explora-") as made:
        runs = Path(made)
        settings = settings_of(plan, seed, runs)
        manifest = ingest(open_sources(settings), settings.data)
        shares = settings.split.model_copy(update={"test": 0.15})
        source = cut(families(manifest, *plan.source), shares, seed)
        target = cut(families(manifest, plan.target), settings.split, seed)
        few = few_drives(target.train, plan.labelled, seed)
        say(
            seed,
            begin,
            f"{len(manifest)} images drawn; {len(source.train)} train the start; target: "
            f"{len(target.train)} without labels, {len(few)} with, {len(target.test)} to judge",
        )
        views = SharedViews(settings, memory=4 << 30)
        device = "cuda" if torch.cuda.is_available() else "cpu"

        def answers(classifier: Any, part: Any) -> NDArray[np.float64]:
            network = classifier.network.eval().to(device)
            logits = run_batches(network, views(part), "")
            classifier.network.cpu()
            return softmax(logits)[:, 1]

        def judge(
            method: str, classifier: Any, chosen: int, since: float, on: Any = target
        ) -> None:
            found = answers(classifier, on.test)
            threshold = best_threshold(answers(classifier, on.select), on.select.labels)
            cells.append(
                Cell(
                    method=method,
                    seed=seed,
                    chosen=chosen,
                    seconds=round(time.monotonic() - since, 1),
                    threshold=threshold,
                    labels=on.test.labels.tolist(),
                    groups=[str(group) for group in on.test.groups],
                    probabilities=found.tolist(),
                )
            )

        def train(backbone: Any, part: Any, select: Any, **wanted: Any) -> Any:
            own = settings_of(plan, seed, runs, **wanted)
            return finetune(backbone, part, select, own, runs / "checkpoints", views=views)

        since = time.monotonic()
        random = load_backbone(settings.backbone, seed)
        first = train(
            random,
            source.train,
            source.select,
            adapter="full",
            epochs=plan.start_epochs,
            batch_size=32,
            learning_rate=5e-4,
        )
        chosen = first.history["best_epoch"]
        judge(SOURCE, first.classifier, chosen, since, on=source)
        judge("start as it is", first.classifier, chosen, since)
        say(seed, begin, f"the start is trained, pass {chosen} chosen")
        start = backbone_of(first.classifier, random)
        since = time.monotonic()
        with ThreadPoolExecutor(plan.threads) as pool:
            pictures = pool.map(lambda uri: small(uri, plan.size), target.train.uris)
            decoded = dict(zip(target.train.uris, pictures, strict=True))
        adapted = pretrain(
            start, target.train, settings, runs / "checkpoints", read=decoded.__getitem__
        )
        last = adapted.history["passes"][-1]
        told = " ".join(f"{name} {value:.3f}" for name, value in last.items())
        say(seed, begin, f"ExPLoRA took {time.monotonic() - since:.0f} s: {told}")
        ways = {
            "LoRA": {"adapter": "lora", "learning_rate": 2e-3},
            "full": {"adapter": "full", "learning_rate": 3e-4},
        }
        for prefix, backbone in (("", start), ("ExPLoRA, ", adapted.backbone)):
            for way, wanted in ways.items():
                if time.monotonic() - begin > plan.seconds:
                    say(seed, begin, f"out of time: {prefix}{way} is not run")
                    continue
                since = time.monotonic()
                tuned = train(
                    backbone, few, target.select, epochs=plan.epochs, batch_size=16, **wanted
                )
                if way == "LoRA":
                    judge(f"{prefix}probe", tuned.baseline, 0, since)
                judge(f"{prefix}{way}", tuned.classifier, tuned.history["best_epoch"], since)
                say(seed, begin, f"{prefix}{way}")
    history = {key: adapted.history[key] for key in ("start", "passes", "trained_weights")}
    return cells, history


def say(seed: int, start: float, text: str) -> None:
    """One line of progress."""
    print(f"seed {seed} {time.monotonic() - start:5.0f} s: {text}", flush=True)


def draws(cell: Cell, figure: str, resample: bool) -> NDArray[np.float64]:
    """The figure itself, (1,), or resampled over drives, (RESAMPLES,); alike for all methods."""
    from roadwork.evaluation.bootstrap import resample_weights
    from roadwork.evaluation.metrics import METRICS as REGISTRY
    from roadwork.evaluation.scored import ScoredSet

    p = np.array(cell.probabilities)
    if figure == "mcc":  # the registry's is that at 0.5
        p = (p >= cell.threshold).astype(np.float64)
    found = ScoredSet(
        np.stack([1 - p, p], axis=1), np.array(cell.labels), groups=np.array(cell.groups)
    )
    if not resample:
        return REGISTRY[figure].batch(found, np.ones((1, found.n)))
    blocks = resample_weights(found, RESAMPLES, seed=cell.seed)
    return np.concatenate([REGISTRY[figure].batch(found, weights) for weights in blocks])


def summarise(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """Mean figures by method, and paired differences to the method's baseline.

    Drives are resampled within each seed, the mean over seeds is taken of every resample: the
    intervals say how much the figures owe to these test drives, with the trained models fixed.
    """
    by = {(cell.method, cell.seed): cell for cell in cells}
    seeds = [
        seed
        for seed in sorted({cell.seed for cell in cells})
        if all((method, seed) in by for method in METHODS)
    ]
    if not seeds:
        raise SystemExit("no seed was finished in time: raise --seconds")
    rows = []
    for method in METHODS:
        baseline = BASELINES.get(method, "LoRA")
        row: dict[str, Any] = {
            "method": method,
            "baseline": baseline,
            "seeds": seeds,
            "chosen": [by[method, seed].chosen for seed in seeds],
        }
        for figure in FIGURES:
            own = np.stack([draws(by[method, seed], figure, False) for seed in seeds])[:, 0]
            other = np.stack([draws(by[baseline, seed], figure, False) for seed in seeds])[:, 0]
            again = np.stack([draws(by[method, seed], figure, True) for seed in seeds])
            against = np.stack([draws(by[baseline, seed], figure, True) for seed in seeds])
            row[figure] = {
                "by_seed": own.tolist(),
                "mean": summary(own, again),
                "difference": summary(own - other, again - against),
            }
        rows.append(row)
    return rows


def summary(values: NDArray[np.float64], resampled: NDArray[np.float64]) -> list[float]:
    """Mean over seeds of values (S,), and its percentile interval from draws (S, RESAMPLES)."""
    low, high = np.nanpercentile(np.nanmean(resampled, axis=0), [2.5, 97.5])
    return [float(values.mean()), float(low), float(high)]


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Figures by method, and the differences to its baseline."""
    lines = [
        "| method | "
        + " | ".join(TITLES[f] for f in FIGURES)
        + " | compared with | "
        + " | ".join(f"difference of {f.upper()}" for f in FIGURES)
        + " | AUROC by seed | passes chosen |",
        "|---|" + "---|" * (2 * len(FIGURES) + 3),
    ]
    for row in rows:
        own = row["baseline"] == row["method"]
        figures = " | ".join(interval(*row[f]["mean"]) for f in FIGURES)
        differences = " | ".join(
            "" if own else interval(*row[f]["difference"], sign="+") for f in FIGURES
        )
        seeds = ", ".join(f"{value:.3f}" for value in row["auroc"]["by_seed"])
        chosen = ", ".join(map(str, row["chosen"]))
        lines.append(
            f"| {row['method']} | {figures} | {'' if own else row['baseline']} | {differences} "
            f"| {seeds} | {chosen} |"
        )
    return "\n".join(lines)


def interval(mean: float, low: float, high: float, sign: str = "") -> str:
    """A mean with its interval."""
    return f"{mean:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs") / "benchmarks")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(Plan.seeds))
    parser.add_argument("--source", nargs="+", default=Plan.source, help="the start's families")
    parser.add_argument("--target", default=Plan.target, help="family that is adapted to")
    parser.add_argument("--drives", type=int, default=Plan.drives, help="of all three families")
    parser.add_argument("--labelled", type=int, default=Plan.labelled, help="drives with labels")
    parser.add_argument(
        "--weights", default="", help="of the start before labels, such as benchmarks.vit_start's"
    )
    parser.add_argument("--size", type=int, default=Plan.size, help="edge of a view in pixels")
    parser.add_argument("--pretrain-epochs", type=int, default=Plan.pretrain_epochs)
    parser.add_argument(
        "--pretrain", type=json.loads, default={}, help='such as {"centring": "mean"}'
    )
    parser.add_argument("--threads", type=int, default=None, help="of all seeds together")
    parser.add_argument("--seconds", type=float, default=Plan.seconds, help="start nothing later")
    parser.add_argument("--quick", action="store_true", help="one seed, few drives, few passes")
    wanted = parser.parse_args()
    cores = wanted.threads or len(os.sched_getaffinity(0))
    plan = Plan(
        seeds=tuple(wanted.seeds),
        source=tuple(wanted.source),
        target=wanted.target,
        drives=wanted.drives,
        labelled=wanted.labelled,
        size=wanted.size,
        weights=wanted.weights,
        pretrain_epochs=wanted.pretrain_epochs,
        pretrain=wanted.pretrain,
        threads=max(1, cores // len(wanted.seeds)),
        seconds=wanted.seconds,
    )
    if wanted.quick:
        plan = replace(
            plan,
            seeds=plan.seeds[:1],
            drives=150,
            labelled=8,
            size=64,
            start_epochs=2,
            pretrain_epochs=2,
            epochs=2,
            threads=cores,
        )
    wanted.out.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    if len(plan.seeds) == 1 or cores == 1:
        parts = [run_seed(plan, seed) for seed in plan.seeds]
    else:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(len(plan.seeds), mp_context=context) as pool:
            parts = list(pool.map(run_seed, [plan] * len(plan.seeds), plan.seeds))
    cells = [cell for found, _ in parts for cell in found]
    rows = summarise(cells)
    table = markdown(rows)
    seconds = round(time.monotonic() - start)
    note = (
        f"{len(rows[0]['seeds'])} seeds; {plan.drives} generated drives a seed of three families, "
        f"start trained on {' and '.join(plan.source)}, target {plan.target}, "
        f"{plan.labelled} labelled drives, {plan.size} px, {plan.pretrain_epochs} passes "
        f"of ExPLoRA, {seconds} s. Intervals of 95 %: "
        "bootstrap over test drives, mean over seeds, trained models fixed. Generated "
        "scenes and weights: no evidence about real roads."
    )
    print(f"\n{table}\n\n{note}")
    (wanted.out / "explora.md").write_text(f"{table}\n\n{note}\n")
    record = {
        "plan": asdict(plan),
        "rows": rows,
        "explora": [history for _, history in parts],
        "cells": [asdict(cell) for cell in cells],
    }
    (wanted.out / "explora.json").write_text(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
