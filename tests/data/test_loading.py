"""Loading: views as they are cut, batches in an order that can be resumed anywhere."""

from __future__ import annotations

import hashlib
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from roadwork.data.loading import (
    BatchStream,
    ViewReader,
    batch_share,
    read_image,
    row_generator,
)
from roadwork.data.manifest import TrainSet
from roadwork.data.order import ShardOrder, Shuffled
from roadwork.data.shard_cache import ShardCache
from roadwork.data.shards import write_shards
from roadwork.data.views import Tiles, make_views, view_count
from roadwork.errors import ConfigError, DataError
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


def test_the_default_order_is_the_one_it_always_was() -> None:
    source = stream(7, 7, seed=3, epoch=2)
    expected = np.random.default_rng([3, 2]).permutation(7).tolist()
    assert drawn(source) == [expected]
    assert Shuffled(7, 3)(2).tolist() == expected


class Repeated:
    """An order that learns: the first row of a pass is how many passes began before."""

    def __init__(self) -> None:
        self.passes = 0

    def __call__(self, epoch: int) -> np.ndarray:
        return np.array([self.passes, 0, 0, 5, 5, 1])

    def state_dict(self) -> dict[str, Any]:
        return {"passes": self.passes}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.passes = state["passes"]


def make_rows(rows: np.ndarray, epoch: int) -> dict[str, torch.Tensor]:
    return {"rows": torch.from_numpy(rows.copy())}


def test_an_order_may_repeat_rows_and_its_state_is_kept() -> None:
    order = Repeated()
    order.passes = 4
    source = BatchStream(6, 2, 0, make_rows, order=order)
    iterator = iter(source)
    assert next(iterator)["rows"].tolist() == [4, 0]
    state = source.state_dict()
    assert state == {"next": 1, "order": {"passes": 4}}
    resumed = BatchStream(6, 2, 0, make_rows, order=Repeated())
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    assert drawn(resumed) == [[0, 5], [5, 1]]


def test_an_order_of_another_length_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="gives 6 rows for a pass of 7"):
        drawn(BatchStream(7, 2, 0, make_rows, order=Repeated()))


def side_by_side(slices: list[list[list[int]]]) -> list[list[int]]:
    """Batches from those of every process."""
    return [list(chain.from_iterable(together)) for together in zip(*slices, strict=True)]


@given(
    rows=st.integers(1, 60),
    share=st.integers(1, 4),
    world=st.integers(1, 5),
    epoch=st.integers(0, 3),
)
def test_processes_share_every_batch(rows: int, share: int, world: int, epoch: int) -> None:
    """Side by side, the slices are the batches that one process sees."""
    batch = share * world
    if min(rows, batch) % world:
        with pytest.raises(ConfigError, match=f"cannot be shared equally by {world} processes"):
            BatchStream(rows, batch, 0, make_rows, rank=0, world=world)
        return
    one = BatchStream(rows, batch, 0, make_rows)
    parts = [
        BatchStream(rows, batch, 0, make_rows, rank=rank, world=world) for rank in range(world)
    ]
    for part in (one, *parts):
        part.set_epoch(epoch)
        assert len(part) == len(one) == max(1, rows // batch)
    slices = [drawn(part) for part in parts]
    assert side_by_side(slices) == drawn(one)
    assert {len(rows_of) for part in slices for rows_of in part} == {min(rows, batch) // world}


@pytest.mark.parametrize(
    ("rows", "batch", "world", "said"),
    [
        (20, 5, 2, "a batch of 5 rows cannot be shared equally by 2 processes"),
        (20, 1, 2, "a batch of 1 rows cannot"),
        (3, 8, 4, r"a batch of 3 rows \(there are only 3 training rows\) cannot"),
    ],
)
def test_a_batch_that_does_not_come_out_even_is_refused(
    rows: int, batch: int, world: int, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        batch_share(rows, batch, world)


@pytest.mark.parametrize("before", [1, 2, 4])
@pytest.mark.parametrize("after", [1, 2, 4])
def test_a_pass_is_finished_by_more_or_fewer_processes(before: int, after: int) -> None:
    def of(rank: int, world: int) -> BatchStream:
        return BatchStream(24, 4, 1, make_rows, rank=rank, world=world)

    state = {}
    for rank in range(before):
        began = of(rank, before)
        iterator = iter(began)
        next(iterator), next(iterator)
        state[rank] = began.state_dict()
    assert all(found == {"next": 2} for found in state.values())
    rest = []
    for rank in range(after):
        resumed = of(rank, after)
        resumed.load_state_dict(state[0])
        rest.append(drawn(resumed))
    whole = drawn(of(0, 1))
    assert side_by_side(rest) == whole[2:]


def test_there_is_no_such_process() -> None:
    for rank in (-1, 2):
        with pytest.raises(ConfigError, match=f"no rank {rank} among 2"):
            BatchStream(8, 2, 0, make_rows, rank=rank, world=2)


@given(
    shards=st.lists(st.integers(0, 9), min_size=1, max_size=80),
    seed=st.integers(0, 9),
    window=st.integers(1, 5),
)
def test_shards_are_read_a_few_at_a_time(shards: list[int], seed: int, window: int) -> None:
    numbers = np.unique(shards, return_inverse=True)[1].astype(np.int64)
    order = ShardOrder(numbers, seed, window)
    rows = order(3)
    assert sorted(rows.tolist()) == list(range(len(shards)))
    assert (order(3) == rows).all()
    seen = numbers[rows]
    first = {shard: int(np.flatnonzero(seen == shard)[0]) for shard in set(seen.tolist())}
    last = {shard: int(np.flatnonzero(seen == shard)[-1]) for shard in set(seen.tolist())}
    for place in range(len(rows)):
        opened = [shard for shard in first if first[shard] <= place <= last[shard]]
        assert len(opened) <= window


def test_shards_are_mixed_anew_in_every_pass() -> None:
    order = ShardOrder(np.repeat(np.arange(12), 50), seed=0, window=4)
    first, second = order(0), order(1)
    assert (first != second).any()
    head = order.shards[first[:200]]
    assert len(set(head.tolist())) == 4
    assert set(head.tolist()) != {0, 1, 2, 3}
    # Mixed within the window, not one shard after the other.
    assert np.count_nonzero(np.diff(head)) > 100


def test_shards_are_told_by_their_addresses() -> None:
    uris = ["b.tar#bytes=0+1", "a.tar#bytes=0+1", "b.tar#bytes=5+1", "x.jpg"]
    order = ShardOrder.of(uris, seed=0, window=1)
    assert order.shards.tolist() == [1, 0, 1, 2]
    places = order(0).tolist()
    assert abs(places.index(0) - places.index(2)) == 1


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
def test_views_are_those_of_the_decoded_file(tiles: Tiles, tmp_path: Path) -> None:
    dataset = photographs(tmp_path, 3)
    reader = ViewReader(dataset, 16, tiles)
    assert len(reader) == 3
    assert reader.shape == (view_count(tiles), 16, 16, 3)
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
    some = np.array([4, 5, 6, 6])
    batches = list(reader.batches(size, some))
    assert [len(batch) for batch in batches] == [min(size, 4 - s) for s in range(0, 4, size)]
    assert (np.concatenate(batches) == np.stack([reader(int(row)) for row in some])).all()


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


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("limit", [1 << 30, 0])
def test_rows_are_taken_in_any_order(
    workers: int, limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roadwork.data.loading._CACHE_BYTES", limit)
    dataset = photographs(tmp_path, 6)
    reader = ViewReader(dataset, 16, 0, workers)
    reader(4)
    rows = np.array([5, 0, 4, 0, 2])
    assert (reader.take(rows) == np.stack([reader(int(row)) for row in rows])).all()


@pytest.mark.parametrize("workers", [1, 3])
def test_rows_are_mirrored_where_asked_and_rows_that_repeat_are_decoded_once(
    workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roadwork.data.loading._CACHE_BYTES", 0)
    dataset = photographs(tmp_path, 4)
    asked: list[str] = []

    def read(uri: str) -> bytes:
        asked.append(uri)
        return Path(uri).read_bytes()

    reader = ViewReader(dataset, 16, 9, workers, read)
    found = reader.take([2, 0, 2, 3], np.array([True, False, False, True]))
    assert sorted(asked) == sorted(dataset.uris[row] for row in (0, 2, 3))
    expected = [reader(2)[:, :, ::-1], reader(0), reader(2), reader(3)[:, :, ::-1]]
    assert (found == np.stack(expected)).all()


def test_a_photograph_that_vanished_is_named_by_the_worker(tmp_path: Path) -> None:
    dataset = photographs(tmp_path, 4)
    Path(dataset.uris[2]).unlink()
    with pytest.raises(DataError, match=r"2\.png .*does not exist"):
        ViewReader(dataset, 16, 0, workers=3).take([0, 1, 2, 3])


def test_one_reader_decodes_every_photograph_once(tmp_path: Path) -> None:
    dataset = photographs(tmp_path, 5)
    asked: list[str] = []

    def read(uri: str) -> bytes:
        asked.append(uri)
        return Path(uri).read_bytes()

    reader = ViewReader(dataset, 16, 0, workers=2, read=read)
    features = np.concatenate(list(reader.batches(2)))
    assert (reader.take(range(5)) == features).all()
    assert sorted(asked) == sorted(dataset.uris)


def test_training_from_shards_in_a_store_gives_the_same_views(
    s3_bucket: str, tmp_path: Path
) -> None:
    rows = []
    for number, uri in enumerate(photographs(tmp_path, 6).uris):
        data = Path(uri).read_bytes()
        sha256 = hashlib.sha256(data).hexdigest()
        head = {"sha256": sha256, "sample_id": sha256[:16], "bytes": len(data)}
        rows.append(made.row(number, uri=uri, **head))
    dataset = TrainSet(made.table(rows))
    remote = write_shards(dataset, f"{s3_bucket}/train", max_bytes=20 * 1024)
    local = ViewReader(dataset, 16, 9)
    cache = ShardCache(tmp_path / "cache", 1 << 20)
    reader = ViewReader(remote, 16, 9, workers=3, read=cache.read_bytes)
    batches = BatchStream(
        6,
        3,
        0,
        lambda chosen, epoch: {"views": torch.from_numpy(reader.take(chosen))},
        order=ShardOrder.of(remote.uris, seed=0),
    )
    found = torch.cat([batch["views"] for batch in batches])
    expected = local.take(batches.order(0))
    assert (found.numpy() == expected).all()


def test_a_file_that_vanished_or_was_cut_off_is_named(tmp_path: Path) -> None:
    dataset = photographs(tmp_path, 1)
    path = Path(dataset.uris[0])
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match=r"0\.png was readable at ingest and now .*run ingest"):
        read_image(str(path))
    path.unlink()
    with pytest.raises(DataError, match=r"0\.png .*does not exist"):
        ViewReader(dataset, 16, 0)(0)
