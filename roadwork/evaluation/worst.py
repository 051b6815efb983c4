"""The worst errors: confident mistakes, with a small picture of each."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence

import numpy as np

import roadwork
from roadwork.data.manifest import SampleSet
from roadwork.errors import DataError
from roadwork.evaluation.record import THUMBNAIL_BYTES, WorstError
from roadwork.evaluation.scored import ScoredSet

__all__ = ["Thumbnails", "worst_errors"]

Thumbnails = Callable[[list[int]], Sequence[bytes | None]]
"""Small JPEGs of the given rows of the test set, None for one that cannot be shown."""


def worst_errors(
    most: int, test: SampleSet, scored: ScoredSet, thumbnails: Thumbnails | None
) -> tuple[WorstError, ...]:
    """The ``most`` wrong answers that gave the true class the least probability, worst first.

    Raises:
        DataError: a thumbnail is no JPEG or too large, or their number is wrong.
    """
    truth = scored.probabilities[np.arange(scored.n), scored.labels]
    files, groups, sets = test.files, test.groups, scored.sets
    wrong = np.flatnonzero(~scored.correct).tolist()
    rows = sorted(wrong, key=lambda row: (truth[row], files[row]))[:most]
    pictures = list(thumbnails(rows)) if thumbnails and rows else [None] * len(rows)
    if len(pictures) != len(rows):
        raise DataError(f"{len(rows)} thumbnails were asked for, but {len(pictures)} came back.")
    return tuple(
        WorstError(
            file=files[row],
            group=str(groups[row]),
            label=roadwork.CLASSES[scored.labels[row]],
            probability=float(scored.probabilities[row, roadwork.POSITIVE]),
            prediction_set=tuple(
                name
                for name, inside in zip(
                    roadwork.CLASSES, sets[row] if sets is not None else (), strict=False
                )
                if inside
            ),
            thumbnail=_encode(files[row], picture),
        )
        for row, picture in zip(rows, pictures, strict=True)
    )


def _encode(file: str, picture: bytes | None) -> str | None:
    if picture is None:
        return None
    if len(picture) > THUMBNAIL_BYTES or not picture.startswith(b"\xff\xd8"):
        raise DataError(
            f"the thumbnail of {file} must be a JPEG of at most {THUMBNAIL_BYTES} bytes, but has "
            f"{len(picture)} bytes: make it smaller or encode it as JPEG."
        )
    return base64.b64encode(picture).decode()
