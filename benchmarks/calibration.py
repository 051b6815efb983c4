"""Every calibrator before and after, on data it has not seen: ``python -m benchmarks.calibration``.

Reads the scores that ``python -m benchmarks.certify_scores`` made. Groups are dealt anew for every
seed: one part fits every calibrator, and also the choice among them, the rest is judged. The table
has means over the splits and, behind ±, the standard deviation between splits, which says how much
one split can mislead; it is no interval, because splits share their images. A second table makes
the same logits three times as large, as an over-confident model would. Writes
``runs/benchmarks/calibration.json`` and ``calibration.md``.

Generated scenes are no evidence about real roads.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.certify_scores import FOLDER, Scores, found_scores

FIGURES: Mapping[str, str] = {
    "ece_positive": "ECE, 15 bins",
    "ece_smooth": "smooth ECE",
    "nll": "log-loss",
    "brier": "Brier",
    "auroc": "AUROC",
}
PARTS: Mapping[str, int] = {"photographs": 2, "scenes": 3}
"""Into how many parts groups are dealt; one fits."""

SPLITS = 20
CHOSEN = "auto"


def measure(scores: Scores, parts: int, splits: int, scale: float) -> dict[str, Any]:
    """Figures (splits,) of every method, and what the choice took."""
    from roadwork.calibration import CALIBRATORS
    from roadwork.calibration.choice import compare_calibrators
    from roadwork.calibration.folds import deal_groups
    from roadwork.evaluation.metrics import METRICS
    from roadwork.evaluation.scored import ScoredSet

    logits = scale * scores.logits
    found: dict[str, dict[str, list[float]]] = {}
    taken: Counter[str] = Counter()
    sizes = []
    for seed in range(splits):
        fit = deal_groups(scores.labels, scores.groups, parts, seed) == seed % parts
        given = (logits[fit], scores.labels[fit], scores.groups[fit])
        chosen = compare_calibrators(*given).chosen
        taken[chosen] += 1
        sizes.append(int(fit.sum()))
        for name in CALIBRATORS:
            model = CALIBRATORS[name].fit(*given)
            judged = ScoredSet(model.transform(logits[~fit]), scores.labels[~fit])
            row = {key: METRICS[key].compute(judged).value for key in FIGURES}
            for method in (name, CHOSEN) if name == chosen else (name,):
                for key, value in row.items():
                    assert value is not None, (key, "undefined in a split")
                    found.setdefault(method, {}).setdefault(key, []).append(value)
    order = [*CALIBRATORS, CHOSEN]
    return {
        "scale": scale,
        "n_fit": int(np.mean(sizes)),
        "n_judged": len(scores.labels) - int(np.mean(sizes)),
        "n_groups": len(np.unique(scores.groups)),
        "splits": splits,
        "taken": dict(taken.most_common()),
        "methods": {name: found[name] for name in order},
    }


def markdown(kind: str, result: Mapping[str, Any]) -> str:
    """The table of one measurement."""
    from roadwork.calibration import CALIBRATORS

    titles = {name: info.title for name, info in CALIBRATORS.items()} | {CHOSEN: "chosen (auto)"}
    times = "" if result["scale"] == 1 else f", logits times {result['scale']:g}"
    lines = [f"| {kind}{times} | " + " | ".join(FIGURES.values()) + " | ECE falls by |"]
    lines.append("|---|" + "---|" * (len(FIGURES) + 1))
    before = np.mean(result["methods"]["identity"]["ece_positive"])
    for name, figures in result["methods"].items():
        cells = [f"{np.mean(v):.4f} ± {np.std(v):.4f}" for v in figures.values()]
        fall = 1.0 - np.mean(figures["ece_positive"]) / before
        lines.append(f"| {titles[name]} | {' | '.join(cells)} | {fall:.0%} |")
    chosen = ", ".join(f"{name} {count}" for name, count in result["taken"].items())
    lines += [
        "",
        f"{result['splits']} splits by group; about {result['n_fit']} images fit and "
        f"{result['n_judged']} are judged, {result['n_groups']} groups in all. Taken by auto: "
        f"{chosen}.",
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--splits", type=int, default=SPLITS)
    wanted = parser.parse_args()
    warnings.simplefilter("ignore")
    record, texts = {}, []
    for kind, scores in found_scores().items():
        record[kind] = [measure(scores, PARTS[kind], wanted.splits, scale) for scale in (1.0, 3.0)]
        texts += [markdown(kind, result) for result in record[kind]]
        print("\n\n".join(texts[-2:]), end="\n\n", flush=True)
    wanted.out.mkdir(parents=True, exist_ok=True)
    (wanted.out / "calibration.md").write_text("\n\n".join(texts) + "\n")
    (wanted.out / "calibration.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
