"""Challenges as a StreetVision validator makes them: a label, a picture, a query.

Source: ``natix/validator/forward.py``, ``cache/image_cache.py``, ``cache/extract.py`` and
``protocol.py`` of natixnetwork/streetvision-subnet, commit 28a1755. A label is drawn first, each
with one half; then whether the picture is synthetic; then a picture of that label; then a level of
augmentation. Photographs were stored as JPEG of Pillow's default quality before, and the query is
such a JPEG again.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from roadwork.data.decode import UnreadableImage, decode_image
from roadwork.data.manifest import SampleSet
from roadwork.data.storage import read_bytes
from roadwork.errors import ConfigError, DataError
from roadwork.evaluation.streetvision.augmentation import (
    LEVELS,
    Augmentation,
    augment,
    encode_query,
)

__all__ = ["SYNTHETIC_SHARE", "Challenge", "ChallengeMaker"]

SYNTHETIC_SHARE = 0.5
"""Share of the challenges whose picture a validator takes from its own diffusion models."""

_JPEG = b"\xff\xd8"


@dataclass(frozen=True)
class Challenge:
    """One query and what is known of it.

    Attributes:
        label: 1 for roadwork, 0 for none.
        query: JPEG file, 224 x 224 pixels.
        file: name of the picture, for people.
        group: group of the picture.
        synthetic: whether the picture is from the synthetic set.
        augmentation: what was done to the picture.
    """

    label: int
    query: bytes
    file: str
    group: str
    synthetic: bool
    augmentation: Augmentation


class _Pool:
    """Pictures to draw from, by label."""

    def __init__(self, pictures: SampleSet, title: str) -> None:
        labels = pictures.labels
        if set(labels.tolist()) != {0, 1}:
            raise DataError(
                f"the {title} are all of one label, but half of the challenges show roadwork and "
                "half do not: give pictures of both"
            )
        self.uris, self.files = pictures.uris, pictures.files
        self.groups = pictures.groups.tolist()
        self.rows: tuple[NDArray[np.intp], ...] = tuple(
            np.flatnonzero(labels == label) for label in (0, 1)
        )


class ChallengeMaker:
    """Makes challenges; the same seed and number give the same bytes, in any order."""

    def __init__(
        self,
        photographs: SampleSet,
        synthetic: SampleSet | None = None,
        synthetic_share: float = SYNTHETIC_SHARE,
    ) -> None:
        """Choose what to draw from.

        Args:
            photographs: labelled photographs, drawn alike within each label.
            synthetic: labelled pictures for the validators' synthetic half. They make theirs with
                diffusion models that are not part of this package; without such pictures every
                challenge shows a photograph, and results speak of the real half alone.
            synthetic_share: share of the challenges that show a synthetic picture, if there are.

        Raises:
            DataError: pictures of one label only.
            ConfigError: the share is not in 0..1.
        """
        if not 0.0 <= synthetic_share <= 1.0:
            raise ConfigError(f"the synthetic share must lie in 0..1, not {synthetic_share}")
        self._real = _Pool(photographs, "photographs")
        self._synthetic = None if synthetic is None else _Pool(synthetic, "synthetic pictures")
        self.synthetic_share = 0.0 if synthetic is None else synthetic_share

    def make(self, seed: int, number: int) -> Challenge:
        """The challenge of a number in the sequence of a seed, both from 0.

        Raises:
            DataError: its picture cannot be read.
        """
        rng = np.random.default_rng([seed, number])
        label = int(rng.integers(2))
        pool = self._real
        if self._synthetic is not None and rng.random() < self.synthetic_share:
            pool = self._synthetic
        rows = pool.rows[label]
        row = int(rows[rng.integers(len(rows))])
        level = int(rng.integers(len(LEVELS)))
        image = _stored(pool.uris[row], pool.files[row], again=pool is self._real)
        pixels, augmentation = augment(image, level, rng)
        return Challenge(
            label=label,
            query=encode_query(pixels),
            file=pool.files[row],
            group=pool.groups[row],
            synthetic=pool is not self._real,
            augmentation=augmentation,
        )


def _stored(uri: str, file: str, *, again: bool) -> Image.Image:
    """The picture as it lies in a validator's cache: a JPEG photograph was encoded once more."""
    try:
        data = read_bytes(uri)
        image = decode_image(data)
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}") from None
    except UnreadableImage as error:
        raise DataError(f"{file}: {error.detail}") from None
    if not again or not data.startswith(_JPEG):
        return image
    buffer = io.BytesIO()
    image.save(buffer, "JPEG")
    return Image.open(buffer).convert("RGB")
