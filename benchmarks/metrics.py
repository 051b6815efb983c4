"""A million scores: every metric, the curves, and 2,000 grouped bootstrap resamples.

``python -m benchmarks.metrics`` times, for 1e4, 1e5 and 1e6 scores in groups of ten, on one core:
every metric of the registry once, the curves of the report, and the bootstrap of every metric; then
nine common metrics alone, against the plain loop that copies the rows of each resample and calls
scikit-learn. The plain loop runs on few resamples and its time is scaled up; the table says how
many there were. Single figures are timed against scikit-learn and torchmetrics on the same arrays.
Writes ``runs/benchmarks/metrics.json`` and ``metrics.md``. ``--quick`` is a smoke run.

Times are those of the processor, which other programs lengthen less than those of the clock.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import time
import warnings
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

OUT = Path("runs") / "benchmarks"
SIZES = (10_000, 100_000, 1_000_000)
PER_GROUP = 10
RESAMPLES = 2000
NAIVE_ROWS = 2_000_000  # rows that the plain loop copies in all, which sets its resamples
COMMON = ("accuracy", "mcc", "f1", "precision", "recall", "auroc", "auprc", "brier", "nll")


def seconds(work: Callable[[], object], repeats: int = 1) -> float:
    """Least processor time of one call."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def drawn(n: int) -> Any:
    """Scores of ``n`` rows in groups of ten that share a part of their log odds, with sets."""
    from roadwork.calibration.base import from_margin, softmax
    from roadwork.evaluation.scored import ScoredSet

    rng = np.random.default_rng(n)
    groups = rng.permutation(np.arange(n) // PER_GROUP)
    odds = rng.normal(scale=1.5, size=n) + rng.normal(size=n)[groups]
    labels = (rng.random(n) < 1.0 / (1.0 + np.exp(-odds))).astype(np.int64)
    table = softmax(from_margin(1.5 * odds))
    return ScoredSet(table, labels, sets=table > 0.1, groups=groups)


def curves(scored: Any) -> None:
    """What the report draws."""
    from roadwork.evaluation.curves import reliability_diagram, risk_coverage_curve

    reliability_diagram(scored, "positive")
    reliability_diagram(scored, "top_label")
    risk_coverage_curve(scored, 200)


def sklearn_metrics(labels: np.ndarray, scores: np.ndarray) -> list[float]:
    """The nine common metrics, as scikit-learn has them."""
    from sklearn import metrics as sk

    hard = (scores > 0.5).astype(np.int64)
    return [
        sk.accuracy_score(labels, hard),
        sk.matthews_corrcoef(labels, hard),
        sk.f1_score(labels, hard),
        sk.precision_score(labels, hard),
        sk.recall_score(labels, hard),
        sk.roc_auc_score(labels, scores),
        sk.average_precision_score(labels, scores),
        sk.brier_score_loss(labels, scores),
        sk.log_loss(labels, scores),
    ]


def plain_loop(scored: Any, resamples: int) -> list[list[float]]:
    """Copy the rows of the drawn groups, and call scikit-learn on them."""
    rng = np.random.default_rng(0)
    order = np.argsort(scored.group_codes, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(scored.group_codes[order])) + 1)
    found = []
    for _ in range(resamples):
        drawn_groups = rng.integers(len(members), size=len(members))
        rows = np.concatenate([members[group] for group in drawn_groups])
        found.append(sklearn_metrics(scored.labels[rows], scored.probabilities[rows, 1]))
    return found


def single_figures(n: int) -> dict[str, dict[str, float]]:
    """Seconds of one figure, sorting included, here and elsewhere."""
    import torch
    from sklearn import metrics as sk
    from torchmetrics.functional import classification as tm

    from roadwork.evaluation.metrics import METRICS
    from roadwork.evaluation.scored import ScoredSet

    scored = drawn(n)
    p, y = scored.probabilities[:, 1].copy(), scored.labels
    scores, truth = torch.from_numpy(p), torch.from_numpy(y)

    def ours(name: str) -> Callable[[], object]:
        # A new set, in which nothing is cached; its checks of the arrays are part of the time.
        return lambda: METRICS[name].compute(ScoredSet(scored.probabilities, scored.labels))

    cases: Mapping[str, Mapping[str, Callable[[], object]]] = {
        "auroc": {
            "scikit-learn": lambda: sk.roc_auc_score(y, p),
            "torchmetrics": lambda: tm.binary_auroc(scores, truth),
        },
        "auprc": {
            "scikit-learn": lambda: sk.average_precision_score(y, p),
            "torchmetrics": lambda: tm.binary_average_precision(scores, truth),
        },
        "ece_positive": {
            "torchmetrics": lambda: tm.binary_calibration_error(scores, truth, n_bins=15)
        },
        "mcc": {
            "scikit-learn": lambda: sk.matthews_corrcoef(y, p > 0.5),
            "torchmetrics": lambda: tm.binary_matthews_corrcoef(scores, truth),
        },
        "brier": {"scikit-learn": lambda: sk.brier_score_loss(y, p)},
    }
    return {
        name: {
            "here": seconds(ours(name), 3),
            **{who: seconds(work, 3) for who, work in others.items()},
        }
        for name, others in cases.items()
    }


def measure(n: int, resamples: int) -> dict[str, float]:
    """Seconds of every part at one size."""
    from roadwork.evaluation.bootstrap import bootstrap
    from roadwork.evaluation.metrics import compute_metrics

    scored = drawn(n)
    row = {"n": float(n), "metrics": seconds(lambda: compute_metrics(scored))}
    row["curves"] = seconds(lambda: curves(scored))
    scored = drawn(n)
    row["bootstrap_all"] = seconds(lambda: bootstrap(scored, resamples=resamples))
    scored = drawn(n)
    row["bootstrap_common"] = seconds(lambda: bootstrap(scored, COMMON, resamples=resamples))
    few = max(2, min(resamples, NAIVE_ROWS // n))
    row["naive_resamples"] = float(few)
    row["naive_common"] = seconds(lambda: plain_loop(scored, few)) * resamples / few
    row["ratio"] = row["naive_common"] / row["bootstrap_common"]
    row["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return row


def markdown(rows: list[dict[str, float]], singles: dict[str, dict[str, float]], note: str) -> str:
    """Both tables."""
    from roadwork.evaluation.metrics import METRICS

    lines = [
        f"| scores | {len(METRICS)} metrics once | curves | bootstrap, {len(METRICS)} metrics "
        f"| bootstrap, {len(COMMON)} metrics | plain loop, the same {len(COMMON)} (resamples run) "
        "| ratio | peak memory |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row['n']:,.0f} | {row['metrics']:.2f} s | {row['curves']:.2f} s "
            f"| {row['bootstrap_all']:.1f} s | {row['bootstrap_common']:.1f} s "
            f"| {row['naive_common']:,.0f} s ({row['naive_resamples']:.0f}) "
            f"| {row['ratio']:.0f} x | {row['peak_mb']:,.0f} MB |"
        )
    lines += [
        "",
        "| growth of time | scores | all metrics once | bootstrap, all |",
        "|---|---|---|---|",
    ]
    for small, large in pairwise(rows):
        lines.append(
            f"| {small['n']:,.0f} to {large['n']:,.0f} | {large['n'] / small['n']:.0f} x "
            f"| {large['metrics'] / small['metrics']:.1f} x "
            f"| {large['bootstrap_all'] / small['bootstrap_all']:.1f} x |"
        )
    lines += ["", "| one figure | here | scikit-learn | torchmetrics |", "|---|---|---|---|"]
    for name, found in singles.items():
        shown = [
            f"{found[who]:.3f} s" if who in found else ""
            for who in ("here", "scikit-learn", "torchmetrics")
        ]
        lines.append(f"| {name} | {' | '.join(shown)} |")
    return "\n".join([*lines, "", note, ""])


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--resamples", type=int, default=RESAMPLES)
    parser.add_argument("--quick", action="store_true", help="two small sizes, few resamples")
    wanted = parser.parse_args()
    import torch

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    sizes, resamples = SIZES, wanted.resamples
    if wanted.quick:
        sizes, resamples = (1_000, 10_000), 50
    measure(1_000, 10)  # imports and first calls
    rows = []
    for n in sizes:
        rows.append(measure(n, resamples))
        print({key: round(value, 3) for key, value in rows[-1].items()}, flush=True)
    singles = single_figures(sizes[-1])
    note = (
        f"{resamples} resamples of groups of {PER_GROUP}; processor time of "
        f"Python {platform.python_version()} on {platform.machine()}, one thread. The plain loop "
        "is scaled from the resamples run; the last table is one figure at the largest size, the "
        "best of three, sorting included."
    )
    table = markdown(rows, singles, note)
    print(f"\n{table}")
    wanted.out.mkdir(parents=True, exist_ok=True)
    (wanted.out / "metrics.md").write_text(table)
    record = {"resamples": resamples, "sizes": rows, "figures": singles, "note": note}
    (wanted.out / "metrics.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
