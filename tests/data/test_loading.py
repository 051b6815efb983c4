"""Loading: views as they are cut, batches in an order that can be resumed anywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from roadwork.data.loading import BatchStream, ViewReader, read_image, row_generator
from roadwork.data.manifest import TrainSet
from roadwork.data.views import make_views
from roadwork.errors import DataError
from tests.data import made


def stream(rows: int, batch: int, seed: int = 0, epoch: int = 0) -> BatchStream:
    found = BatchStream(
        rows, batch, seed, lambda chosen, epoch: {"rows": torch.from_numpy(chosen.copy())}
    )
    found.set_epoch(epoch)
    return found


def drawn(source: BatchStream) -> list[list[int]]:
    return [batch["rows"].tolist() for batch in source]


@given(rows=st.integers(1, 40), batch=st.integers(1, 12), seed=st.integers(0, 5))
def test_every_row_comes_at_most_once_in_a_pass(rows: int, batch: int, seed: int) -> None:
    source = stream(rows, batch, seed)
    batches = drawn(source)
    flat = [row for part in batches for row in part]
    size = min(batch, rows)
    assert len(batches) == len(source) == rows // size
    assert all(len(part) == size for part in batches)
    assert len(set(flat)) == len(flat)
    assert set(flat) <= set(range(rows))


def test_the_order_depends_on_the_seed_and_the_pass_alone() -> None:
    source = stream(24, 4, seed=1)
    first = drawn(source)
    assert drawn(source) == first
    assert drawn(stream(24, 4, seed=1)) == first
    source.set_epoch(1)
    second = drawn(source)
    assert second != first
    # The second pass is the same for who never saw the first.
    assert drawn(stream(24, 4, seed=1, epoch=1)) == second
    assert drawn(stream(24, 4, seed=2)) != first


def test_a_pass_goes_on_after_any_batch_through_its_state() -> None:
    whole = drawn(stream(23, 4, seed=3, epoch=2))
    assert len(whole) == 5
    for done in range(1, 5):
        stopped = stream(23, 4, seed=3, epoch=2)
        iterator = iter(stopped)
        seen = [next(iterator)["rows"].tolist() for _ in range(done)]
        state = stopped.state_dict()
        assert state == {"next": done}
        resumed = stream(23, 4, seed=3, epoch=2)
        resumed.load_state_dict(state)
        assert seen + drawn(resumed) == whole
        # The pass after the resumed one is whole again.
        assert drawn(resumed) == whole


def test_after_the_last_batch_the_state_is_the_start_of_a_pass() -> None:
    source = stream(9, 3)
    drawn(source)
    assert source.state_dict() == {"next": 0}


def test_the_next_batch_is_made_while_one_is_used_and_errors_arrive() -> None:
    made_rows: list[int] = []

    def make(chosen: np.ndarray, epoch: int) -> dict[str, torch.Tensor]:
        made_rows.extend(chosen.tolist())
        if len(made_rows) == 3:
            raise DataError("the third cannot be read")
        return {}

    iterator = iter(BatchStream(5, 1, 0, make))
    next(iterator)
    next(iterator)
    with pytest.raises(DataError, match="the third"):
        next(iterator)


def test_random_numbers_belong_to_the_seed_the_pass_and_the_row() -> None:
    keys = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1), (0, 256, 0), (0, 0, 256)]
    values = [row_generator(*key).random() for key in keys]
    assert len(set(values)) == len(keys)
    assert [row_generator(*key).random() for key in keys] == values


def photographs(folder: Path, count: int) -> TrainSet:
    rows = []
    for number in range(count):
        path = folder / f"{number}.png"
        pixels = np.random.default_rng(number).integers(0, 256, (30, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        rows.append(made.row(number, uri=str(path)))
    return TrainSet(made.table(rows))


@pytest.mark.parametrize("tiles", [0, 9])
def test_views_are_those_of_the_decoded_file(tiles: int, tmp_path: Path) -> None:
    dataset = photographs(tmp_path, 3)
    reader = ViewReader(dataset, 16, tiles)
    assert len(reader) == 3
    assert reader.shape == (1 + tiles, 16, 16, 3)
    for row, uri in enumerate(dataset.uris):
        expected = make_views(Image.open(uri).convert("RGB"), 16, tiles)
        assert reader(row).shape == reader.shape
        assert (reader(row) == expected).all()


@pytest.mark.parametrize(("workers", "size"), [(0, 2), (1, 7), (3, 3), (2, 1)])
def test_batches_hold_all_rows_in_order(workers: int, size: int, tmp_path: Path) -> None:
    dataset = photographs(tmp_path, 7)
    reader = ViewReader(dataset, 16, 0, workers)
    batches = list(reader.batches(size))
    assert [len(batch) for batch in batches] == [min(size, 7 - s) for s in range(0, 7, size)]
    assert (np.concatenate(batches) == np.stack([reader(row) for row in range(7)])).all()


def test_what_fits_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from roadwork.data import loading

    dataset = photographs(tmp_path, 2)
    kept = ViewReader(dataset, 16, 0)
    first = kept(0)
    monkeypatch.setattr(loading, "_CACHE_BYTES", 2 * 16 * 16 * 3 - 1)
    streamed = ViewReader(dataset, 16, 0)
    assert (streamed(0) == first).all()
    Path(dataset.uris[0]).unlink()
    assert (kept(0) == first).all()
    with pytest.raises(DataError):
        streamed(0)


def test_a_file_that_vanished_or_was_cut_off_is_named(tmp_path: Path) -> None:
    dataset = photographs(tmp_path, 1)
    path = Path(dataset.uris[0])
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match=r"0\.png was readable at ingest and now .*run ingest"):
        read_image(str(path))
    path.unlink()
    with pytest.raises(DataError, match=r"0\.png .*does not exist"):
        ViewReader(dataset, 16, 0)(0)
