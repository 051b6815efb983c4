"""Inference: features and logits of every photograph of a set, in row order."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from roadwork.allocator import keep_freed_memory
from roadwork.data.loading import ViewReader
from roadwork.data.manifest import SampleSet
from roadwork.models.classifier import Classifier, RoadworkNetwork
from roadwork.progress import progress
from roadwork.settings import DataSettings, Settings

__all__ = ["extract_features", "predict_logits", "run_batches", "run_network"]

_VIEWS_PER_BATCH = 160


@torch.inference_mode()
def run_batches(
    function: Callable[[Tensor], Tensor],
    reader: ViewReader,
    title: str,
    rows: NDArray[np.int64] | None = None,
) -> NDArray[np.float64]:
    """Apply a network's function to N rows, by default all; float64 of shape (N, …)."""
    keep_freed_memory()
    size = max(1, _VIEWS_PER_BATCH // reader.shape[0])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    total = len(reader) if rows is None else len(rows)
    results = []
    with progress(title) as update:
        done = 0
        for views in reader.batches(size, rows):
            results.append(function(torch.from_numpy(views).to(device)).double().cpu().numpy())
            done += len(views)
            update(done, total)
    return np.concatenate(results)


def extract_features(
    network: RoadworkNetwork, dataset: SampleSet, settings: Settings
) -> NDArray[np.float64]:
    """Aggregated features (N, W) of a set, in evaluation mode."""
    assert isinstance(settings.backbone.image_size, int), "resolve the settings first"
    reader = ViewReader(
        dataset, settings.backbone.image_size, network.views.tiles, settings.data.workers
    )
    network = _ready(network)
    return run_batches(network.features, reader, f"Features of the {dataset.role} set")


def predict_logits(
    classifier: Classifier, dataset: SampleSet, data: DataSettings
) -> NDArray[np.float64]:
    """Logits (N, K) of a set in float64, in row order."""
    spec = classifier.spec
    reader = ViewReader(dataset, spec.image_size, spec.views.tiles, data.workers)
    return run_batches(_ready(classifier.network), reader, f"Scoring the {dataset.role} set")


@torch.inference_mode()
def run_network(network: RoadworkNetwork, views: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Logits (N, K) of views (N, V, S, S, 3), one photograph at a time on the CPU."""
    network = network.cpu().eval()
    logits = [network(torch.from_numpy(view[None])) for view in views]
    return torch.cat(logits).double().numpy()


def _ready(network: RoadworkNetwork) -> RoadworkNetwork:
    return network.eval().to("cuda" if torch.cuda.is_available() else "cpu")
