"""Does it matter how training is computed? The demo, trained in every way of ``compute``.

    python -m benchmarks.compute

The demo's model at its tiny size is trained plainly, then compiled, in two parts a batch, by two
processes (DDP and FSDP), and in 16 bits; on fewer scenes and without tiles, so that all of it takes
minutes on two cores. All share the seed, so that all learn the same up to rounding. Each step
amplifies rounding, here about tenfold in two steps: after twenty, the trainings have parted, as
those of different numbers of threads have. So the losses of the first steps must be equal within a
narrow tolerance, which a wrong sum of gradients or another batch would miss; of the end it is only
asked that it is about as good. The table tells each difference, and how much is allowed. The
largest difference of a logit is told without a bound.

Compiling needs a C++ compiler; a variant that this machine cannot compute says why. It prints a
table and writes ``compute.json`` and ``compute.md``. The exit code is 1 if a variant is outside of
a tolerance or did not run. Generated scenes: no evidence about real roads.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "plain": {},
    "compiled": {"compile": "default"},
    "2 parts a batch": {"accumulate": 2},
    "2 processes, DDP": {"processes": 2},
    "2 processes, FSDP": {"processes": 2, "strategy": "fsdp"},
    "bf16": {"precision": "bf16"},
}
STEPS = 5
# Largest allowed difference to plain: of the losses of the first STEPS steps, and of the figures at
# the end. All but the last variant differ by the rounding of float32 alone; the last computes with
# 8 bits of mantissa. One image of the test set moves MCC by about 0.02.
EXACT = {"first_losses": 0.001, "auroc": 0.05, "mcc": 0.1, "select_nll": 0.05}
SHORT = {"first_losses": 0.1, "auroc": 0.1, "mcc": 0.2, "select_nll": 0.1}
TOLERANCES: Mapping[str, Mapping[str, float]] = {
    name: SHORT if name == "bf16" else EXACT for name in VARIANTS
}


@dataclass(frozen=True)
class Row:
    """One variant, or why it did not run.

    Attributes:
        losses: of the first steps.
        figures: AUROC and MCC on the test set, and the lowest selection loss.
        differences: of the figures to those of the plain run, and the largest of the losses.
        logits: largest difference of a logit on the test set to the plain run.
    """

    name: str
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    differences: dict[str, float] = field(default_factory=dict)
    logits: float = 0.0
    failure: str = ""

    @property
    def inside(self) -> bool:
        """Whether it ran, and no figure differs by more than its tolerance."""
        return not self.failure and all(
            abs(self.differences[figure]) <= bound
            for figure, bound in TOLERANCES[self.name].items()
        )


def measure(drives: int, seed: int) -> list[Row]:
    """Train every variant on the same sets."""
    from roadwork.data.ingest import ingest
    from roadwork.data.sources import open_sources
    from roadwork.data.splits import cut
    from roadwork.settings import parse_settings, resolve

    source = {"kind": "synthetic", "drives": drives}
    with tempfile.TemporaryDirectory(prefix="roadwork-compute-") as made:
        tree: dict[str, Any] = {
            "seed": seed,
            "runs": made,
            "data": {"sources": [source]},
            "backbone": {"views": {"tiles": 0}},
        }
        plain = resolve(parse_settings(tree))
        manifest = ingest(open_sources(plain), plain.data)
        sets = cut(manifest, plain.split, plain.seed)
        rows: list[Row] = []
        reference: NDArray[np.float64] | None = None
        for name, changes in VARIANTS.items():
            settings = resolve(parse_settings({**tree, "compute": dict(changes)}))
            row, logits = train(name, settings, sets, Path(made))
            if logits is not None:
                reference = logits if reference is None else reference
                first = rows[0] if rows else row
                apart = np.abs(np.subtract(row.losses, first.losses)).max()
                row.differences["first_losses"] = float(apart)
                for figure, value in row.figures.items():
                    row.differences[figure] = value - first.figures[figure]
                row = replace(row, logits=float(np.abs(logits - reference).max()))
            rows.append(row)
            print(line(row), flush=True)
            if reference is None:
                break  # there is nothing to compare with
    return rows


def train(
    name: str, settings: Any, sets: Any, made: Path
) -> tuple[Row, NDArray[np.float64] | None]:
    """One variant and its logits on the test set; its checkpoints are its own."""
    from roadwork.calibration.base import softmax
    from roadwork.errors import ConfigError
    from roadwork.evaluation.confusion import matthews_correlation
    from roadwork.evaluation.ranking import auroc
    from roadwork.evaluation.scored import ScoredSet
    from roadwork.models.backbone import load_backbone
    from roadwork.models.inference import predict_logits
    from roadwork.training.curves import Curves
    from roadwork.training.finetune import finetune

    start = time.monotonic()
    try:
        backbone = load_backbone(settings.backbone, settings.seed)
        folder = made / f"checkpoints-{name.replace(' ', '-')}"
        done = finetune(backbone, sets.train, sets.select, settings, folder)
    except ConfigError as error:
        return Row(name, failure=str(error)), None
    seconds = time.monotonic() - start
    logits = predict_logits(done.classifier, sets.test, settings.data)
    scored = ScoredSet(softmax(logits), sets.test.labels)
    ones = np.ones((1, scored.n))
    figures = {
        "auroc": float(auroc(scored, ones)[0]),
        "mcc": float(matthews_correlation(scored, ones)[0]),
        "select_nll": float(min(done.history["select_nll"])),
    }
    curve = Curves.of_columns(done.history["curves"]).of("train/loss")
    losses = [point.value for point in curve[:STEPS]]
    return Row(name, round(seconds, 1), losses, figures), logits


def line(row: Row) -> str:
    """One row of the table: each figure, its difference to plain, and the largest allowed one."""
    if row.failure:
        return f"| {row.name} | did not run: {row.failure} | | | | | | **no** |"
    bounds = TOLERANCES[row.name]
    told = f"{row.differences['first_losses']:.1e} (≤ {bounds['first_losses']:g}) | "
    told += " | ".join(
        f"{value:.4f} ({row.differences[figure]:+.4f}, ±{bounds[figure]:g})"
        for figure, value in row.figures.items()
    )
    verdict = "yes" if row.inside else "**no**"
    return f"| {row.name} | {told} | {row.logits:.1e} | {row.seconds:.0f} | {verdict} |"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs") / "benchmarks")
    parser.add_argument("--drives", type=int, default=100, help="of generated scenes")
    parser.add_argument("--seed", type=int, default=0)
    wanted = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("roadwork").setLevel(logging.ERROR)
    head = (
        f"| computed | largest difference of the first {STEPS} losses (allowed) | test AUROC "
        "(difference, allowed) | test MCC | selection loss | largest difference of a logit | "
        "seconds | inside |\n|---|---|---|---|---|---|---|---|"
    )
    print(head, flush=True)
    rows = measure(wanted.drives, wanted.seed)
    lines = [head, *map(line, rows)]
    wanted.out.mkdir(parents=True, exist_ok=True)
    (wanted.out / "compute.md").write_text("\n".join(lines) + "\n")
    record = {
        "seed": wanted.seed,
        "drives": wanted.drives,
        "rows": [{**asdict(row), "inside": row.inside} for row in rows],
        "tolerances": {name: dict(bounds) for name, bounds in TOLERANCES.items()},
    }
    (wanted.out / "compute.json").write_text(json.dumps(record, indent=2) + "\n")
    sys.exit(not all(row.inside for row in rows))


if __name__ == "__main__":
    main()
