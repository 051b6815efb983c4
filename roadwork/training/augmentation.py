"""Augmentation: what training changes in a photograph, by chance, before it learns from it.

Views are mirrored, which the workers do while they copy them; colours are scaled and shifted,
which the device does with the pixels (:class:`~roadwork.training.supervised.Supervised`): a batch
travels as bytes, a quarter of the size of its pixels as float32.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from roadwork.data.loading import ViewReader, row_generator

__all__ = ["augmented_batch"]


def augmented_batch(
    read: ViewReader, labels: NDArray[np.int64], rows: NDArray[np.int64], epoch: int, seed: int
) -> dict[str, Tensor]:
    """Views of some rows with their augmentation, which depends on seed, pass and row alone.

    Args:
        read: of the training set.
        labels: (N,) of all rows.
        rows: (B,), of this batch.
        epoch: number of the pass.
        seed: of the run.

    Returns:
        ``views`` uint8 (B, V, S, S, 3), half of them mirrored; ``labels`` int64 (B,); ``gain``
        float32 (B, 3) and ``offset`` float32 (B,), for the RGB pixels in [0, 1].
    """
    mirrored = np.empty(len(rows), dtype=np.bool_)
    gains = np.empty((len(rows), 3))
    offsets = np.empty(len(rows))
    for place, row in enumerate(rows):
        rng = row_generator(seed, epoch, int(row))
        mirrored[place] = rng.random() < 0.5
        gains[place] = rng.uniform(0.8, 1.25) * rng.uniform(0.93, 1.07, 3)
        offsets[place] = rng.uniform(-0.08, 0.08)
    return {
        "views": torch.from_numpy(read.take(rows, mirrored)),
        "labels": torch.from_numpy(labels[rows]),
        "gain": torch.from_numpy(gains).float(),
        "offset": torch.from_numpy(offsets).float(),
    }
