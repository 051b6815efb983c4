"""Scores that calibrators and conformal predictors are measured on: made once, used by both.

``python -m benchmarks.certify_scores`` computes the features of frozen EfficientNet-Lite0, views
aggregated as in service, and the logits of a logistic regression on them, each group judged by the
one of five that has not seen it. It writes ``runs/benchmarks/certify-scenes.npz`` from generated
scenes and, where ``ROADWORK_DATA`` names a folder with a ``manifest.csv``,
``certify-photographs.npz``. The regression has scikit-learn's default strength: with more features
than photographs it is as over-confident as a network trained to the end.

Generated scenes are no evidence about real roads: they are here because there are enough of them.
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

FOLDER = Path("runs") / "benchmarks"
DRIVES = 760
FOLDS = 5
SEED = 0


@dataclass(frozen=True)
class Scores:
    """Out-of-fold scores of one kind of pictures.

    Attributes:
        logits: (N, 2) float64, the regression's log odds as (-m / 2, m / 2).
        labels: (N,) int64.
        groups: (N,) names of drives.
        sources: (N,) names of sources.
    """

    logits: NDArray[np.float64]
    labels: NDArray[np.int64]
    groups: NDArray[np.str_]
    sources: NDArray[np.str_]

    def save(self, path: Path) -> None:
        """Write one file of plain arrays."""
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **vars(self))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what :meth:`save` wrote."""
        with np.load(path, allow_pickle=False) as file:
            return cls(**{name: file[name] for name in file.files})


def found_scores(folder: Path = FOLDER) -> dict[str, Scores]:
    """The scores that were made: "photographs", "scenes" or both.

    Raises:
        SystemExit: there are none.
    """
    paths = {kind: folder / f"certify-{kind}.npz" for kind in ("photographs", "scenes")}
    found = {kind: Scores.load(path) for kind, path in paths.items() if path.exists()}
    if not found:
        raise SystemExit(f"{folder} has no scores: run python -m benchmarks.certify_scores first")
    return found


def make_scores(source: dict[str, Any], image_size: int, threads: int) -> Scores:
    """Features of every picture of a source, and logits that no own group had a part in."""
    import torch
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold

    from roadwork.data.ingest import ingest
    from roadwork.data.manifest import TrainSet
    from roadwork.data.sources import open_sources
    from roadwork.models.backbone import load_backbone
    from roadwork.models.classifier import attach_head
    from roadwork.models.inference import extract_features
    from roadwork.settings import parse_settings, resolve

    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory(prefix="roadwork-certify-") as made:
        tree = {
            "name": "certify",
            "runs": made,
            "data": {"workers": threads, "sources": [source]},
            "backbone": {
                "name": "tf_efficientnet_lite0",
                "weights": "package",
                "image_size": image_size,
            },
        }
        settings = resolve(parse_settings(tree))
        everything = TrainSet(ingest(open_sources(settings), settings.data).table)
        network = attach_head(load_backbone(settings.backbone, 0), settings.backbone.views)
        features = extract_features(network, everything, settings)
    labels, groups = everything.labels, everything.groups
    margins = np.empty(len(labels))
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=SEED)
    for rest, judged in folds.split(features, labels, groups):
        mean, scale = features[rest].mean(axis=0), features[rest].std(axis=0) + 1e-9
        head = LogisticRegression(max_iter=1000).fit((features[rest] - mean) / scale, labels[rest])
        margins[judged] = head.decision_function((features[judged] - mean) / scale)
    return Scores(
        logits=np.stack([-margins / 2, margins / 2], axis=1),
        labels=labels.astype(np.int64),
        groups=np.asarray(groups, dtype=np.str_),
        sources=np.asarray(everything.column("source"), dtype=np.str_),
    )


def main() -> None:
    """Make both and write them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--drives", type=int, default=DRIVES, help="drives of generated scenes")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", choices=("photographs", "scenes"))
    wanted = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("roadwork").setLevel(logging.ERROR)
    plans = {
        "photographs": ({"kind": "image_folder", "csv": "manifest.csv"}, 224),
        "scenes": ({"kind": "synthetic", "drives": wanted.drives, "faults": False}, 96),
    }
    if not os.environ.get("ROADWORK_DATA"):
        del plans["photographs"]
    for kind, (source, image_size) in plans.items():
        if wanted.only not in (None, kind):
            continue
        start = time.monotonic()
        scores = make_scores(source, image_size, wanted.threads)
        path = wanted.out / f"certify-{kind}.npz"
        scores.save(path)
        print(
            f"{path}: {len(scores.labels)} images, {len(np.unique(scores.groups))} groups, "
            f"share of roadwork {scores.labels.mean():.3f}, "
            f"{time.monotonic() - start:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
