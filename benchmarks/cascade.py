"""Ways to train the two stages of a cascade, judged on drives never seen.

``python -m benchmarks.cascade --out DIR`` computes the features of frozen EfficientNet-Lite0 once,
of generated scenes, or of your photographs where ``ROADWORK_DATA`` names their folder (with a
``manifest.csv``), and trains two linear heads on them: stage 1 on the global view, stage 2 on the
global view beside the maximum over nine tiles. Folds are cut by drive: three fifths train, one
calibrates both stages' temperatures and chooses the exit, one is judged; every image is judged once
a seed. Of the training drives a third is kept from the first phase (cross-entropy), so that the
second phase, which differs by method, sees errors. It prints tables, with points of the
accuracy-compute curve among them, and writes ``cascade.json`` and ``cascade.md``. ``--quick`` is a
smoke run and says nothing.

Intervals are percentiles of a bootstrap over drives of the judged answers, with the trained heads
fixed; figures are means over seeds. On generated scenes they compare methods on the generator, and
are no evidence about real roads.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

METHODS: Mapping[str, Mapping[str, Any]] = {
    "cross-entropy": {"objective": "ce"},
    "Gatekeeper 0.3": {"objective": "gatekeeper", "alpha": 0.3},
    "Gatekeeper 0.5": {"objective": "gatekeeper", "alpha": 0.5},
    "Gatekeeper 0.7": {"objective": "gatekeeper", "alpha": 0.7},
    "LCRON": {"objective": "lcron"},
    "two-sided": {"objective": "two_sided"},
}
PLAIN = "cross-entropy"
FIGURES: Mapping[str, str] = {
    "accuracy_1": "accuracy of stage 1",
    "accuracy_2": "accuracy of stage 2",
    "views_hindsight": "views an image at most 0.5 % loss, cut chosen on the judged images",
    "views": "views an image, cut chosen on the calibration fold",
    "loss": "loss of accuracy at that cut",
    "recall": "recall at 90 % precision at that cut",
    "s_d": "s_d",
}
CURVE: Mapping[str, float] = {f"share_{share}": share / 100 for share in (25, 50, 75)}
"""Points of the accuracy-compute curve: share of the images that stage 1 answers."""
MAX_LOSS = 0.005
STAGE_VIEWS = (1, 10)
FOLDS = 5
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    seeds: tuple[int, ...] = (0, 1, 2)
    drives: int = 170
    epochs: int = 30
    batch: int = 128
    resamples: int = 1000
    threads: int = 2


@dataclass(frozen=True)
class Data:
    """Features (N, W) of both stages, labels and drives."""

    first: NDArray[np.float32]
    second: NDArray[np.float32]
    labels: NDArray[np.int64]
    groups: NDArray[Any]
    name: str


@dataclass(frozen=True)
class Cell:
    """One method with one seed: judged probabilities (N, 2), and whether stage 1 answers, (N,)."""

    method: str
    seed: int
    first: Array
    second: Array
    at_once: NDArray[np.bool_]


def load(plan: Plan) -> Data:
    """Features of every photograph, in memory."""
    from roadwork.data.ingest import ingest
    from roadwork.data.manifest import TrainSet
    from roadwork.data.sources import open_sources
    from roadwork.models.backbone import load_backbone
    from roadwork.models.classifier import attach_head
    from roadwork.models.inference import run_batches
    from roadwork.settings import parse_settings, resolve
    from roadwork.training.views import open_views

    real = bool(os.environ.get("ROADWORK_DATA"))
    source = (
        {"kind": "image_folder", "csv": "manifest.csv"}
        if real
        else {"kind": "synthetic", "drives": plan.drives, "faults": False}
    )
    with tempfile.TemporaryDirectory(prefix="roadwork-cascade-") as made:
        tree = {
            "name": "cascade",
            "runs": made,
            "data": {"workers": plan.threads, "sources": [source]},
            "backbone": {
                "name": "tf_efficientnet_lite0",
                "weights": "package",
                "image_size": 224 if real else 96,
            },
        }
        settings = resolve(parse_settings(tree))
        everything = TrainSet(ingest(open_sources(settings), settings.data).table)
        network = attach_head(load_backbone(settings.backbone, 0), settings.backbone.views).eval()
        features = run_batches(
            lambda views: network.view_features(network.pixels(views), views.shape[1]),
            open_views(settings)(everything),
            "Features",
        ).astype(np.float32)
    seen = features[:, 0]
    second = np.concatenate([seen, features[:, 1:].max(axis=1)], axis=1)
    name = "photographs of ROADWORK_DATA" if real else "generated scenes"
    return Data(seen, second, everything.labels, everything.groups, name)


def folds(data: Data, seed: int) -> Iterator[tuple[NDArray[np.bool_], ...]]:
    """Masks (N,) of the first phase, the second phase, calibration, and judging, for every fold."""
    from sklearn.model_selection import StratifiedGroupKFold

    splitter = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    place = np.zeros(len(data.labels), dtype=np.int64)
    for number, (_, left) in enumerate(splitter.split(data.labels, data.labels, data.groups)):
        place[left] = number
    for number in range(FOLDS):
        calibrate, judge = place == (number + 1) % FOLDS, place == number
        train = ~calibrate & ~judge
        # Two of the three training folds are seen in the first phase.
        yield train & (place != (number + 2) % FOLDS), train, calibrate, judge


class Heads:
    """Two linear heads on standardised features, and the weights that LCRON learns.

    The objectives are the library's, the training is not that of
    :mod:`roadwork.cascade.train`: both heads start at zero and learn by AdamW with a weight decay
    of 0.1 in both phases (there: a logistic regression and the classifier's head, then 0.01);
    gradients are not clipped and the rate has no schedule; the last pass is kept, none is chosen
    by a selection set; both heads are always trained (there by default the first alone).
    """

    def __init__(self, data: Data, rows: NDArray[np.bool_], seed: int) -> None:
        """Heads of zeros; ``rows`` give the scale."""
        import torch

        self.labels = torch.from_numpy(data.labels)
        self.inputs = []
        for features in (data.first, data.second):
            mean, scale = features[rows].mean(axis=0), features[rows].std(axis=0) + 1e-3
            self.inputs.append(torch.from_numpy((features - mean) / scale))
        widths = [inputs.shape[1] for inputs in self.inputs]
        self.weights = [torch.zeros(width + 1, 2, requires_grad=True) for width in widths]
        self.log_variances = torch.zeros(2, requires_grad=True)
        self.generator = torch.Generator().manual_seed(seed)

    def logits(self, rows: Any) -> list[Any]:
        """Both stages' logits of some rows."""
        return [x[rows] @ w[:-1] + w[-1] for x, w in zip(self.inputs, self.weights, strict=True)]

    def train(self, rows: NDArray[np.bool_], settings: Any, plan: Plan, rate: float) -> None:
        """AdamW over shuffled batches."""
        import torch

        from roadwork.cascade.losses import cascade_losses

        optimizer = torch.optim.AdamW(
            [
                {"params": self.weights, "weight_decay": 0.1},
                {"params": [self.log_variances], "weight_decay": 0.0},
            ],
            lr=rate,
        )
        own = torch.from_numpy(np.flatnonzero(rows))
        for _ in range(plan.epochs):
            order = own[torch.randperm(len(own), generator=self.generator)]
            for batch in order.split(plan.batch):
                optimizer.zero_grad()
                first, second = self.logits(batch)
                loss = cascade_losses(
                    first, second, self.labels[batch], settings, self.log_variances
                )
                loss.backward()
                optimizer.step()

    def scores(self, rows: NDArray[np.bool_]) -> list[Array]:
        """Both stages' logits, for what comes after training."""
        import torch

        with torch.no_grad():
            found = self.logits(torch.from_numpy(np.flatnonzero(rows)))
        return [logits.double().numpy() for logits in found]

    def copy(self) -> Heads:
        """The same state, apart."""
        other = object.__new__(Heads)
        other.labels, other.inputs = self.labels, self.inputs
        other.weights = [w.detach().clone().requires_grad_() for w in self.weights]
        other.log_variances = self.log_variances.detach().clone().requires_grad_()
        other.generator = self.generator.clone_state()
        return other


def run_seed(data: Data, plan: Plan, seed: int) -> list[Cell]:
    """All methods over all folds."""
    from roadwork.calibration import CALIBRATORS
    from roadwork.cascade.simulate import CascadeScores, fewest_views
    from roadwork.evaluation.scored import ScoredSet
    from roadwork.settings import CascadeSettings

    n = len(data.labels)
    kept = {
        method: (np.empty((n, 2)), np.empty((n, 2)), np.empty(n, dtype=np.bool_))
        for method in METHODS
    }
    for first_phase, train, calibrate, judge in folds(data, seed):
        start = Heads(data, first_phase, seed)
        start.train(first_phase, CascadeSettings(), plan, rate=1e-3)
        for method, changes in METHODS.items():
            heads = start.copy()
            heads.train(train, CascadeSettings.model_validate(changes), plan, rate=3e-4)
            known, judged = heads.scores(calibrate), heads.scores(judge)
            truth = data.labels[calibrate]
            maps = [CALIBRATORS["temperature"].fit(logits, truth) for logits in known]
            pair = [
                ScoredSet(one.transform(logits), truth)
                for one, logits in zip(maps, known, strict=True)
            ]
            _, cuts = fewest_views(
                CascadeScores(*pair), np.ones((1, len(truth))), MAX_LOSS, STAGE_VIEWS
            )
            for place, one, logits in zip(kept[method], maps, judged, strict=False):
                place[judge] = one.transform(logits)
            kept[method][2][judge] = kept[method][0][judge].max(axis=1) >= cuts[0]
    return [Cell(method, seed, *found) for method, found in kept.items()]


def figures(cell: Cell, data: Data, weights: Array) -> dict[str, Array]:
    """Every figure, (B,), for row weights (B, N)."""
    from roadwork.cascade.confidence import deferral_performance
    from roadwork.cascade.simulate import (
        CascadeScores,
        exit_table,
        fewest_views,
        recall_at_precision,
    )
    from roadwork.evaluation.confusion import accuracy
    from roadwork.evaluation.scored import ScoredSet

    pair = CascadeScores(ScoredSet(cell.first, data.labels), ScoredSet(cell.second, data.labels))
    final = ScoredSet(np.where(cell.at_once[:, None], cell.first, cell.second), data.labels)
    share = weights @ cell.at_once / weights.sum(axis=1)
    once, all_views = STAGE_VIEWS
    second = accuracy(pair.second, weights)
    table = exit_table(pair, weights)
    return {
        **{
            name: np.array(
                [np.interp(at, *row) for row in zip(table.share, table.accuracy, strict=True)]
            )
            for name, at in CURVE.items()
        },
        "accuracy_1": accuracy(pair.first, weights),
        "accuracy_2": second,
        "views_hindsight": fewest_views(pair, weights, MAX_LOSS, STAGE_VIEWS)[0],
        "views": share * once + (1 - share) * all_views,
        "loss": second - accuracy(final, weights),
        "recall": recall_at_precision(final, weights),
        "s_d": deferral_performance(pair, weights),
    }


def summarise(cells: Sequence[Cell], data: Data, plan: Plan) -> list[dict[str, Any]]:
    """Figures by method, and their differences to cross-entropy on the same resamples."""
    from roadwork.evaluation.bootstrap import resample_weights
    from roadwork.evaluation.scored import ScoredSet

    drawn = ScoredSet(np.full((len(data.labels), 2), 0.5), data.labels, groups=data.groups)
    ones = np.ones((1, len(data.labels)))
    weights = np.concatenate([ones, *resample_weights(drawn, plan.resamples, seed=0)])
    found: dict[str, dict[str, Array]] = {}
    for method in METHODS:
        own = [figures(cell, data, weights) for cell in cells if cell.method == method]
        found[method] = {key: np.mean([values[key] for values in own], axis=0) for key in own[0]}
    rows = []
    for method, values in found.items():
        row: dict[str, Any] = {"method": method}
        for key in values:
            row[key] = with_interval(values[key])
            row[f"{key}_difference"] = with_interval(values[key] - found[PLAIN][key])
        rows.append(row)
    return rows


def with_interval(values: Array) -> tuple[float, float, float, int]:
    """The figure itself, which comes first, its 95 % interval, and resamples without a value."""
    again = values[1:]
    kept = again[np.isfinite(again)]
    low, high = np.percentile(kept, [2.5, 97.5]) if len(kept) else (np.nan, np.nan)
    return float(values[0]), float(low), float(high), len(again) - len(kept)


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The figures, their differences to cross-entropy, and points of the accuracy-compute curve."""
    once, all_views = STAGE_VIEWS
    points = {"accuracy_2": f"{all_views} views"}
    for key, share in CURVE.items():
        points[key] = f"{share * once + (1 - share) * all_views:g} views"
    points["accuracy_1"] = "1 view"
    lines = []
    for title, suffix, sign, shown, columns in (
        ("method", "", "", rows, FIGURES),
        (f"difference to {PLAIN}", "_difference", "+", rows[1:], FIGURES),
        ("accuracy at a mean of", "", "", rows, points),
        (f"difference to {PLAIN}", "_difference", "+", rows[1:], points),
    ):
        lines += ["", f"| {title} | " + " | ".join(columns.values()) + " |"]
        lines.append("|---|" + "---|" * len(columns))
        for row in shown:
            parts = []
            for key in columns:
                mean, low, high, _ = row[key + suffix]
                known = np.isfinite(mean)  # s_d asks that stage 2 be better than stage 1
                figures = f"{mean:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"
                parts.append(figures if known else "undefined in a seed")
            lines.append(f"| {row['method']} | " + " | ".join(parts) + " |")
    return "\n".join(lines[1:])


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs") / "benchmarks")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(Plan.seeds))
    parser.add_argument("--drives", type=int, default=Plan.drives)
    parser.add_argument("--epochs", type=int, default=Plan.epochs)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--quick", action="store_true", help="one seed, few drives, few passes")
    wanted = parser.parse_args()
    plan = Plan(
        seeds=tuple(wanted.seeds),
        drives=wanted.drives,
        epochs=wanted.epochs,
        threads=wanted.threads,
    )
    if wanted.quick:
        plan = replace(plan, seeds=(0,), drives=30, epochs=3, resamples=100)

    import torch

    warnings.simplefilter("ignore")
    logging.getLogger("roadwork").setLevel(logging.ERROR)
    torch.set_num_threads(plan.threads)
    wanted.out.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    data = load(plan)
    print(f"{time.monotonic() - start:5.0f} s: features of {len(data.labels)} images", flush=True)
    cells: list[Cell] = []
    for seed in plan.seeds:
        cells += run_seed(data, plan, seed)
        print(f"{time.monotonic() - start:5.0f} s: seed {seed}", flush=True)
    rows = summarise(cells, data, plan)
    seconds = round(time.monotonic() - start)
    groups = len(np.unique(data.groups))
    note = (
        f"{data.name}: {len(data.labels)} images, {groups} drives, share of roadwork "
        f"{data.labels.mean():.2f}; {len(plan.seeds)} seeds, {plan.epochs} passes a phase, "
        f"{seconds} s. Intervals of 95 % over drives, trained heads fixed."
    )
    if not os.environ.get("ROADWORK_DATA"):
        note += " Generated scenes: no evidence about real roads."
    table = markdown(rows)
    print(f"\n{table}\n\n{note}")
    (wanted.out / "cascade.md").write_text(f"{table}\n\n{note}\n")
    record = {"plan": asdict(plan), "data": data.name, "note": note, "rows": rows}
    (wanted.out / "cascade.json").write_text(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
