"""Does it matter how training is computed? The demo, trained in every way of ``compute``.

    python -m benchmarks.compute

One run of the demo's data and settings is trained plainly, then compiled, by two processes (DDP and
FSDP), in two parts a batch, and in 16 bits. All share the seed, so that all learn the same up to
rounding; training amplifies rounding, so the figures differ a little. The stated tolerances are
those of the table. Compiling needs a C++ compiler; a variant that cannot run says why. It prints a
table and writes ``compute.json`` and ``compute.md``; the exit code is 1 if a tolerance is missed.
Generated scenes: no evidence about real roads.
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
from dataclasses import asdict, dataclass
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
# Largest allowed difference of AUROC, MCC and selection loss to plain; the first three differ by
# the rounding of float32 alone, the last computes with 8 bits of mantissa.
EXACT = {"auroc": 0.005, "mcc": 0.03, "select_nll": 0.01}
SHORT = {"auroc": 0.03, "mcc": 0.10, "select_nll": 0.05}
TOLERANCES: Mapping[str, Mapping[str, float]] = {
    name: SHORT if name == "bf16" else EXACT for name in VARIANTS
}


@dataclass(frozen=True)
class Row:
    """One variant: figures on the test set, or why there are none."""

    name: str
    seconds: float = 0.0
    auroc: float = float("nan")
    mcc: float = float("nan")
    select_nll: float = float("nan")
    logits: float = 0.0
    failure: str = ""

    def missed(self, plain: Row) -> list[str]:
        """Figures beyond the tolerance."""
        if self.failure:
            return ["did not run"]
        allowed = TOLERANCES[self.name]
        return [
            figure
            for figure, bound in allowed.items()
            if not abs(getattr(self, figure) - getattr(plain, figure)) <= bound
        ]


def measure(drives: int | None, seed: int) -> list[Row]:
    """Train every variant on the same sets."""
    from roadwork.data.ingest import ingest
    from roadwork.data.sources import open_sources
    from roadwork.data.splits import cut
    from roadwork.settings import parse_settings, resolve

    source = {"kind": "synthetic"} | ({} if drives is None else {"drives": drives})
    with tempfile.TemporaryDirectory(prefix="roadwork-compute-") as made:
        tree: dict[str, Any] = {"seed": seed, "runs": made, "data": {"sources": [source]}}
        plain = resolve(parse_settings(tree))
        manifest = ingest(open_sources(plain), plain.data)
        sets = cut(manifest, plain.split, plain.seed)
        rows: list[Row] = []
        reference: NDArray[np.float64] | None = None
        for name, changes in VARIANTS.items():
            settings = resolve(parse_settings({**tree, "compute": dict(changes)}))
            row, logits = train(name, settings, sets, Path(made), reference)
            reference = logits if reference is None else reference
            rows.append(row)
            print(line(row, rows[0]), flush=True)
    return rows


def train(
    name: str, settings: Any, sets: Any, made: Path, reference: NDArray[np.float64] | None
) -> tuple[Row, NDArray[np.float64] | None]:
    """One variant; checkpoints apart, so that none goes on from another's."""
    from roadwork.calibration.base import softmax
    from roadwork.errors import RoadworkError
    from roadwork.evaluation.confusion import matthews_correlation
    from roadwork.evaluation.ranking import auroc
    from roadwork.evaluation.scored import ScoredSet
    from roadwork.models.backbone import load_backbone
    from roadwork.models.inference import predict_logits
    from roadwork.training.finetune import finetune

    start = time.monotonic()
    try:
        backbone = load_backbone(settings.backbone, settings.seed)
        folder = made / f"checkpoints-{name.replace(' ', '-')}"
        done = finetune(backbone, sets.train, sets.select, settings, folder)
    except RoadworkError as error:
        return Row(name, failure=str(error)), None
    seconds = time.monotonic() - start
    logits = predict_logits(done.classifier, sets.test, settings.data)
    scored = ScoredSet(softmax(logits), sets.test.labels)
    ones = np.ones((1, scored.n))
    difference = 0.0 if reference is None else float(np.abs(logits - reference).max())
    return (
        Row(
            name,
            round(seconds, 1),
            float(auroc(scored, ones)[0]),
            float(matthews_correlation(scored, ones)[0]),
            float(min(done.history["select_nll"])),
            difference,
        ),
        logits,
    )


def line(row: Row, plain: Row) -> str:
    """One row of the table."""
    if row.failure:
        return f"| {row.name} | did not run: {row.failure} | | | | | |"
    verdict = ", ".join(row.missed(plain)) or "yes"
    return (
        f"| {row.name} | {row.auroc:.4f} | {row.mcc:.4f} | {row.select_nll:.4f} | "
        f"{row.logits:.1e} | {row.seconds:.0f} | {verdict} |"
    )


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs") / "benchmarks")
    parser.add_argument("--drives", type=int, default=None, help="default: as in the demo")
    parser.add_argument("--seed", type=int, default=0)
    wanted = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("roadwork").setLevel(logging.ERROR)
    head = (
        "| computed | test AUROC | test MCC | selection loss | largest difference of a logit | "
        "seconds | within tolerance |\n|---|---|---|---|---|---|---|"
    )
    print(head, flush=True)
    rows = measure(wanted.drives, wanted.seed)
    lines = [head, *(line(row, rows[0]) for row in rows)]
    wanted.out.mkdir(parents=True, exist_ok=True)
    (wanted.out / "compute.md").write_text("\n".join(lines) + "\n")
    record = {
        "seed": wanted.seed,
        "rows": [asdict(row) for row in rows],
        "tolerances": {name: dict(bounds) for name, bounds in TOLERANCES.items()},
    }
    (wanted.out / "compute.json").write_text(json.dumps(record, indent=2) + "\n")
    sys.exit(any(row.missed(rows[0]) for row in rows))


if __name__ == "__main__":
    main()
