"""Augmentation: chance belongs to the row, whoever computes it and however often."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from roadwork.data.loading import ViewReader, row_generator
from roadwork.data.manifest import TrainSet
from roadwork.training.augmentation import augmented_batch
from tests.data import made
from tests.training.made_photos import photo_rows

COUNT = 60


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> ViewReader:
    rows = photo_rows(tmp_path_factory.mktemp("photos"), range(COUNT))
    return ViewReader(TrainSet(made.table(rows)), 16, 0, workers=3)


def written_out(
    reader: ViewReader, labels: np.ndarray, rows: np.ndarray, epoch: int, seed: int
) -> dict[str, torch.Tensor]:
    """The same one image after another, in the plainest way."""
    views, gains, offsets = [], [], []
    for row in rows:
        rng = row_generator(seed, epoch, int(row))
        image = reader(int(row))
        views.append(image[:, :, ::-1] if rng.random() < 0.5 else image)
        gains.append(rng.uniform(0.8, 1.25) * rng.uniform(0.93, 1.07, 3))
        offsets.append(rng.uniform(-0.08, 0.08))
    return {
        "views": torch.from_numpy(np.stack(views)),
        "labels": torch.from_numpy(labels[rows]),
        "gain": torch.from_numpy(np.stack(gains)).float(),
        "offset": torch.from_numpy(np.array(offsets)).float(),
    }


def test_a_batch_is_the_same_byte_for_byte_as_written_out(reader: ViewReader) -> None:
    labels = np.arange(COUNT) % 2
    rows = np.array([7, 3, 3, 59, 0, 12])
    found = augmented_batch(reader, labels, rows, 2, 5)
    expected = written_out(reader, labels, rows, 2, 5)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key].dtype == value.dtype
        assert torch.equal(found[key], value)


def test_it_depends_on_seed_pass_and_row_alone_and_mirrors_half(reader: ViewReader) -> None:
    labels = np.arange(COUNT) % 2
    rows = np.arange(COUNT)
    batch = augmented_batch(reader, labels, rows, 1, 0)
    part = augmented_batch(reader, labels, rows[50:53], 1, 0)
    for key in batch:
        assert torch.equal(batch[key][50:53], part[key])
    for other in ((2, 0), (1, 1)):
        assert not torch.equal(augmented_batch(reader, labels, rows, *other)["gain"], batch["gain"])
    plain = np.stack([reader(row) for row in range(COUNT)])
    views = batch["views"].numpy()
    same = (views == plain).all(axis=(1, 2, 3, 4))
    mirrored = (views == plain[:, :, :, ::-1]).all(axis=(1, 2, 3, 4))
    assert (same ^ mirrored).all()
    assert 18 < same.sum() < 42  # of 60, three standard deviations to each side
    assert 0.8 * 0.93 <= float(batch["gain"].min()) < float(batch["gain"].max()) <= 1.25 * 1.07
    assert -0.08 <= float(batch["offset"].min()) < 0 < float(batch["offset"].max()) <= 0.08


def test_what_the_reader_keeps_is_not_mirrored(reader: ViewReader, tmp_path: Path) -> None:
    before = reader(4).copy()
    augmented_batch(reader, np.zeros(COUNT, dtype=np.int64), np.full(8, 4), 0, 0)
    assert (reader(4) == before).all()
