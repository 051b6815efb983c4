"""Folds of a calibration set: whole groups, with the classes spread alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from roadwork.calibration.base import IntArray

__all__ = ["deal_groups", "most_folds"]


def most_folds(labels: IntArray, groups: NDArray[np.generic]) -> int:
    """Largest number of folds in which each can have every class that occurs.

    That is the number of groups that hold the class which fewest groups hold.
    """
    codes = np.unique(groups, return_inverse=True)[1].reshape(-1)
    return min(len(np.unique(codes[labels == k])) for k in np.unique(labels))


def deal_groups(
    labels: IntArray, groups: NDArray[np.generic], folds: int, seed: int
) -> NDArray[np.int64]:
    """Fold 0..folds - 1 of every row, (N,); rows of a group share theirs.

    Groups go, those with most rows of a rare class first, each to the fold that then has the
    least sum over classes of its squared share of the class. Equal choices go by the seed.

    Args:
        labels: (N,) classes.
        groups: (N,) group of every row.
        folds: at least 2.
        seed: of the order among equal groups.
    """
    names, codes = np.unique(groups, return_inverse=True)
    present, classes = np.unique(labels, return_inverse=True)
    flat = codes.reshape(-1) * len(present) + classes.reshape(-1)
    counts = np.bincount(flat, minlength=len(names) * len(present)).reshape(len(names), -1)
    shares = counts / counts.sum(axis=0)
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(-shares.max(axis=1)[order], kind="stable")]
    held = np.zeros((folds, len(present)))
    fold_of = np.zeros(len(names), dtype=np.int64)
    for group in order:
        # (h + s)^2 - h^2, less the s^2 that every fold would add.
        fold = int((held @ shares[group]).argmin())
        fold_of[group] = fold
        held[fold] += shares[group]
    return fold_of[codes.reshape(-1)]
