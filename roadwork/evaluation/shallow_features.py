"""Features without sight of the content: colours without shapes, and words of the metadata."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from roadwork.data.decode import decode_image
from roadwork.data.leak_guard import LABEL_MADE
from roadwork.data.manifest import SLICES
from roadwork.data.profile import NULL
from roadwork.data.storage import read_bytes

__all__ = ["colour_features", "metadata_features", "one_hot"]

_GRID = 4
_LEVELS = 16
_CELLS = 4
_MOST_VALUES = 50

Floats = NDArray[np.float64]


def colour_features(uris: Sequence[str], max_megapixels: float = 50.0) -> dict[str, Floats]:
    """Colours of images, without any shape.

    Returns:
        ``colour means``, (N, 48): mean red, green and blue of 4 x 4 cells; and ``colour
        histogram``, (N, 112): shares of 16 levels of each channel, and of 4 x 4 x 4 colours.

    Raises:
        OSError: an image cannot be read.
        UnreadableImage: an image cannot be decoded.
    """
    means, histograms = [], []
    for uri in uris:
        image = decode_image(read_bytes(uri), max_megapixels)
        # Small enough to be quick, large enough that a thin cone keeps its colour.
        pixels = np.asarray(image.resize((128, 72), 4), dtype=np.int64)  # 4: box filter
        blocks = pixels.reshape(_GRID, 72 // _GRID, _GRID, 128 // _GRID, 3)
        means.append(blocks.mean(axis=(1, 3)).ravel())
        histograms.append(_histogram(pixels.reshape(-1, 3)))
    return {"colour means": np.stack(means), "colour histogram": np.stack(histograms)}


def _histogram(pixels: NDArray[np.int64]) -> Floats:
    channels = pixels // (256 // _LEVELS) + _LEVELS * np.arange(3)
    coarse = pixels // (256 // _CELLS) @ np.array([_CELLS**2, _CELLS, 1])
    counts = np.concatenate(
        [
            np.bincount(channels.ravel(), minlength=3 * _LEVELS),
            np.bincount(coarse, minlength=_CELLS**3),
        ]
    )
    return counts / len(pixels)


def metadata_features(table: pa.Table) -> Floats:
    """Words of the slice columns, (N, F): one column for each of the 50 most frequent
    words of a slice column, NULL included; columns made from the label are left out."""
    columns = [one_hot(table, name) for name in SLICES if name not in LABEL_MADE]
    return np.concatenate(columns, axis=1)


def one_hot(table: pa.Table, name: str) -> Floats:
    """One column for each of the 50 most frequent words of a column, (N, W)."""
    texts = np.array([NULL if v is None else v for v in table.column(name).to_pylist()])
    words, counts = np.unique(texts, return_counts=True)
    kept = words[np.sort(np.argsort(-counts, kind="stable")[:_MOST_VALUES])]
    return (texts[:, None] == kept).astype(np.float64)
