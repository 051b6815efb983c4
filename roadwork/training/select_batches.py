"""Batches of the selection set, on which the passes of training are judged."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from roadwork.data.loading import ViewReader
from roadwork.training.processes import Group

__all__ = ["SelectBatches"]

_ALONE = Group()


class SelectBatches:
    """The selection set in order, the same batches every time; of several processes each its share.

    Attributes:
        sources: (N,) source of each row.
        group: the processes that share the rows.
    """

    def __init__(
        self,
        reader: ViewReader,
        labels: NDArray[np.int64],
        sources: NDArray[np.str_],
        size: int = 16,
        group: Group = _ALONE,
    ) -> None:
        """``size`` rows at a time."""
        self.reader = reader
        self.labels = labels
        self.sources = sources
        self.size = size
        self.group = group
        self.rows = group.share(len(reader))

    def __len__(self) -> int:
        return -(-len(self.rows) // self.size)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for index, views in enumerate(self.reader.batches(self.size, self.rows)):
            labels = self.labels[self.rows[index * self.size : (index + 1) * self.size]]
            yield {"views": torch.from_numpy(views), "labels": torch.from_numpy(labels)}
