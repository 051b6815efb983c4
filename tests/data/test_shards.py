"""Shards: the same set in tars, equal bytes every time, read by WebDataset; cached on disk."""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from roadwork.data import shard_cache, shards, storage
from roadwork.data.exposure import Exposure, Use
from roadwork.data.manifest import SelectSet, TrainSet
from roadwork.data.shard_cache import ShardCache
from roadwork.data.shards import load_shards, verify_images, write_shards
from roadwork.errors import DataError
from tests.data import made

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")


def encoded(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, FORMATS[number % len(FORMATS)])
    return buffer.getvalue()


def photographs(folder: Path, count: int = 30) -> TrainSet:
    """A set whose files exist; every fifth city is unknown."""
    rows = []
    for number in range(count):
        data = encoded(number)
        sha256 = hashlib.sha256(data).hexdigest()
        path = folder / f"{number:03}.img"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        rows.append(
            made.row(
                number,
                uri=str(path),
                sha256=sha256,
                sample_id=sha256[:16],
                bytes=len(data),
                city="Köln" if number % 5 else None,
            )
        )
    return TrainSet(made.table(rows))


@pytest.fixture(params=["disk", "memory", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "disk":
        return str(tmp_path.resolve() / "shards")
    if request.param == "memory":
        return request.getfixturevalue("memory") + "/shards"
    return request.getfixturevalue("s3_bucket") + "/shards"


def contents(folder: str) -> dict[str, bytes]:
    return {
        storage.relative_to(file.uri, folder): storage.read_bytes(file.uri)
        for file in storage.list_files(folder)
    }


SMALL = 20 * 1024


def test_a_set_in_shards_is_the_same_set(folder: str, tmp_path: Path) -> None:
    dataset = photographs(tmp_path / "in")
    found = write_shards(dataset, folder, max_bytes=SMALL)
    assert type(found) is TrainSet
    assert found.table.schema == dataset.table.schema
    assert found.table.drop_columns(["uri"]) == dataset.table.drop_columns(["uri"])
    assert (found.sample_ids == dataset.sample_ids).all()
    exposures = [Exposure.of(Use.TRAIN, each).to_bytes() for each in (dataset, found)]
    assert exposures[0] == exposures[1]
    assert load_shards(folder, TrainSet).content_hash == found.content_hash
    for before, after in zip(dataset.uris, found.uris, strict=True):
        assert storage.read_bytes(after) == Path(before).read_bytes()
        assert (storage.container_of(after) or "").startswith(folder)
    verify_images(found)
    with pytest.raises(DataError, match="holds the train set, not select"):
        load_shards(folder, SelectSet)


def test_the_index_says_where_every_image_is(tmp_path: Path) -> None:
    dataset = photographs(tmp_path / "in")
    folder = tmp_path / "shards"
    found = write_shards(dataset, str(folder), max_bytes=SMALL)
    index = pq.read_table(folder / "index.parquet").to_pylist()
    assert sorted(row["sample_id"] for row in index) == sorted(
        dataset.table.column("sample_id").to_pylist()
    )
    for row in index:
        data = (folder / row["shard"]).read_bytes()[row["offset"] :][: row["length"]]
        assert hashlib.sha256(data).hexdigest() == row["sha256"]
    places = {f"{folder}/{row['shard']}#bytes={row['offset']}+{row['length']}" for row in index}
    assert places == set(found.uris)


def test_shards_are_tars_of_bounded_size_with_what_is_known(tmp_path: Path) -> None:
    dataset = photographs(tmp_path / "in")
    folder = tmp_path / "shards"
    write_shards(dataset, str(folder), max_bytes=SMALL)
    paths = sorted(folder.glob("*.tar"))
    assert len(paths) > 3
    assert all(path.stat().st_size <= SMALL for path in paths)
    assert sorted(path.name for path in folder.iterdir()) == [
        "index.parquet",
        "plan.json",
        "set.parquet",
        *(path.name for path in paths),
    ]
    rows = {row["sample_id"]: row for row in dataset.table.to_pylist()}
    suffixes = set()
    for path in paths:
        with tarfile.open(path) as archive:
            members = archive.getmembers()
            for image, description in zip(members[::2], members[1::2], strict=True):
                key, suffix = image.name.split(".")
                suffixes.add(suffix)
                assert description.name == f"{key}.json"
                assert (image.mtime, image.uid, image.gid, image.uname) == (0, 0, 0, "")
                opened = archive.extractfile(description)
                assert opened is not None
                said = json.loads(opened.read())
                row = rows.pop(key)
                for name in ("label", "group_id", "drive", "source", "city", "file", "sha256"):
                    assert said[name] == row[name]
    assert not rows
    assert suffixes == {"jpg", "png", "webp", "bmp", "tif"}


def test_equal_sets_give_equal_bytes_and_the_seed_another_order(tmp_path: Path) -> None:
    dataset = photographs(tmp_path / "in")
    moved = photographs(tmp_path / "moved")
    for name, source, seed in (("a", dataset, 0), ("b", moved, 0), ("c", dataset, 1)):
        write_shards(source, str(tmp_path / name), max_bytes=SMALL, seed=seed)
    first, second, third = (contents(str(tmp_path / name)) for name in "abc")
    assert first == second
    assert first["index.parquet"] != third["index.parquet"]


def test_a_shard_is_a_mix(tmp_path: Path) -> None:
    dataset = photographs(tmp_path / "in")
    found = write_shards(dataset, str(tmp_path / "s"), max_bytes=SMALL)
    numbers = [n for n, uri in enumerate(found.uris) if "shard-000000" in uri]
    assert len(numbers) > 2
    assert numbers != list(range(len(numbers)))


def test_an_image_larger_than_a_shard_has_one_of_its_own(tmp_path: Path) -> None:
    dataset = photographs(tmp_path / "in", 4)
    found = write_shards(dataset, str(tmp_path / "s"), max_bytes=1)
    assert len({storage.container_of(uri) for uri in found.uris}) == 4
    verify_images(found)


def test_moved_shards_are_read_where_they_are(tmp_path: Path) -> None:
    dataset = photographs(tmp_path / "in", 6)
    write_shards(dataset, str(tmp_path / "a"))
    (tmp_path / "a").rename(tmp_path / "b")
    verify_images(load_shards(str(tmp_path / "b"), TrainSet))


def test_writing_goes_on_where_it_stopped(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = photographs(tmp_path / "in")
    whole = str(tmp_path / "whole")
    write_shards(dataset, whole, max_bytes=SMALL)
    read = shards.read_bytes
    limit = 12

    def failing(uri: str) -> bytes:
        nonlocal limit
        limit -= uri.endswith(".img")
        if limit < 0 and uri.endswith(".img"):
            raise OSError("the disk was taken out")
        return read(uri)

    monkeypatch.setattr(shards, "read_bytes", failing)
    with pytest.raises(DataError, match=r"img was readable at ingest.*taken out"):
        write_shards(dataset, folder, max_bytes=SMALL)
    with pytest.raises(DataError, match=r"holds no finished shards: there is no set\.parquet"):
        load_shards(folder, TrainSet)
    begun = contents(folder)
    assert 1 <= len([name for name in begun if name.endswith(".tar")]) < 5
    assert all(begun[name] == contents(whole)[name] for name in begun)
    reads: list[str] = []

    def counted(uri: str) -> bytes:
        reads.append(uri)
        return read(uri)

    monkeypatch.setattr(shards, "read_bytes", counted)
    write_shards(dataset, folder, max_bytes=SMALL)
    assert contents(folder) == contents(whole)
    assert 0 < len([uri for uri in reads if uri.endswith(".img")]) < len(dataset)


def test_a_shard_of_another_size_is_written_again(tmp_path: Path) -> None:
    dataset = photographs(tmp_path / "in")
    folder = tmp_path / "s"
    write_shards(dataset, str(folder), max_bytes=SMALL)
    whole = (folder / "shard-000001.tar").read_bytes()
    (folder / "shard-000001.tar").write_bytes(whole[:-512])
    write_shards(dataset, str(folder), max_bytes=SMALL)
    assert (folder / "shard-000001.tar").read_bytes() == whole


def test_a_folder_of_other_shards_is_refused(folder: str, tmp_path: Path) -> None:
    dataset = photographs(tmp_path / "in")
    write_shards(dataset, folder, max_bytes=SMALL)
    before = contents(folder)
    others = (
        (dataset, SMALL, 1),
        (dataset, 2 * SMALL, 0),
        (TrainSet(dataset.table.slice(1)), SMALL, 0),
        (SelectSet(dataset.table), SMALL, 0),
    )
    for other, size, seed in others:
        with pytest.raises(DataError, match="holds shards of another set"):
            write_shards(other, folder, max_bytes=size, seed=seed)
    assert contents(folder) == before


def test_a_changed_photograph_is_named(tmp_path: Path) -> None:
    dataset = photographs(tmp_path / "in", 5)
    Path(dataset.uris[3]).write_bytes(encoded(99))
    with pytest.raises(DataError, match=r"003\.img was changed since ingest"):
        write_shards(dataset, str(tmp_path / "s"))
    with pytest.raises(DataError, match=r"1 of 5 photographs .*003\.img has other content"):
        verify_images(dataset)
    Path(dataset.uris[3]).unlink()
    with pytest.raises(DataError, match=r"1 of 5 photographs .*003\.img cannot be read"):
        verify_images(dataset)


def test_a_damaged_shard_is_found(tmp_path: Path) -> None:
    found = write_shards(photographs(tmp_path / "in", 5), str(tmp_path / "s"))
    path = tmp_path / "s" / "shard-000000.tar"
    data = bytearray(path.read_bytes())
    data[int(found.uris[2].partition("=")[2].partition("+")[0])] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"1 of 5 photographs .*shard-000000\.tar#bytes"):
        verify_images(found)


def test_a_sample_twice_is_refused(tmp_path: Path) -> None:
    table = photographs(tmp_path / "in", 3).table
    with pytest.raises(DataError, match="holds a sample twice"):
        write_shards(TrainSet(table.take([0, 1, 0])), str(tmp_path / "s"))


@pytest.mark.filterwarnings("ignore")
def test_webdataset_reads_them(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset", reason="needs the package webdataset")
    dataset = photographs(tmp_path / "in")
    write_shards(dataset, str(tmp_path / "s"), max_bytes=SMALL)
    paths = [str(path) for path in sorted((tmp_path / "s").glob("*.tar"))]
    found = list(webdataset.WebDataset(paths, shardshuffle=False, empty_check=False))
    rows = {row["sample_id"]: row for row in dataset.table.to_pylist()}
    assert len(found) == len(rows)
    for sample in found:
        row = rows.pop(sample["__key__"])
        assert json.loads(sample["json"])["label"] == row["label"]
        suffixes = set(sample) & {"jpg", "png", "webp", "bmp", "tif"}
        assert sample[suffixes.pop()] == Path(row["uri"]).read_bytes()


# The cache of shards.


@pytest.fixture(params=["memory", "s3"])
def remote(request: pytest.FixtureRequest, tmp_path: Path) -> TrainSet:
    """A set in shards of an object store."""
    place = {"memory": "memory", "s3": "s3_bucket"}[request.param]
    folder = request.getfixturevalue(place) + "/shards"
    return write_shards(photographs(tmp_path / "in"), folder, max_bytes=SMALL)


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Addresses in the order in which whole shards were fetched."""
    found: list[str] = []
    fetch = shard_cache.open_stored

    def counted(uri: str) -> Any:
        found.append(uri)
        return fetch(uri)

    monkeypatch.setattr(shard_cache, "open_stored", counted)
    return found


def kept(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def test_every_shard_is_fetched_once(remote: TrainSet, fetched: list[str], tmp_path: Path) -> None:
    cache = ShardCache(tmp_path / "cache", 1 << 20)
    for uri in remote.uris * 2:
        assert cache.read_bytes(uri) == storage.read_bytes(uri)
    assert sorted(fetched) == sorted({uri.partition("#")[0] for uri in remote.uris})
    # Another process, or run, finds them there.
    again = ShardCache(tmp_path / "cache", 1 << 20)
    assert again.read_bytes(remote.uris[0]) == storage.read_bytes(remote.uris[0])
    assert len(fetched) == len(set(fetched))


def test_the_cache_stays_within_its_bytes(
    remote: TrainSet, fetched: list[str], tmp_path: Path
) -> None:
    cache = ShardCache(tmp_path / "cache", 2 * SMALL)
    one = {storage.container_of(uri): uri for uri in remote.uris}
    first, second, third = sorted(one.values())[:3]
    for uri in (first, second, first, third, first, second):
        assert cache.read_bytes(uri) == storage.read_bytes(uri)
        assert kept(tmp_path / "cache") <= 2 * SMALL
    # The third drove the second out, which had been used before the first.
    order = [storage.container_of(uri) for uri in (first, second, third, second)]
    assert fetched == order


def test_threads_share_one_transfer(remote: TrainSet, fetched: list[str], tmp_path: Path) -> None:
    cache = ShardCache(tmp_path / "cache", 1 << 20)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(cache.read_bytes, remote.uris * 3))
    assert found == [storage.read_bytes(uri) for uri in remote.uris] * 3
    assert len(fetched) == len(set(fetched))


def test_a_shard_larger_than_the_cache_is_not_kept(
    remote: TrainSet, fetched: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = ShardCache(tmp_path / "cache", 1000)
    for uri in remote.uris:
        assert cache.read_bytes(uri) == storage.read_bytes(uri)
    assert fetched == []
    assert "are read one by one" in caplog.text


def test_a_shard_that_was_written_anew_is_fetched_anew(memory: str, tmp_path: Path) -> None:
    storage.write_bytes(f"{memory}/x.tar", b"0123456789")
    uri = f"{memory}/x.tar#bytes=2+3"
    assert ShardCache(tmp_path, 100).read_bytes(uri) == b"234"
    storage.write_bytes(f"{memory}/x.tar", b"abcdefghijk")
    assert ShardCache(tmp_path, 100).read_bytes(uri) == b"cde"


def test_a_transfer_that_broke_leaves_nothing(
    memory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.write_bytes(f"{memory}/x.tar", b"0123456789")
    cache = ShardCache(tmp_path, 100)
    monkeypatch.setattr(shard_cache, "open_stored", lambda uri: io.BytesIO(b"01234"))
    with pytest.raises(DataError, match=r"x\.tar came as 5 bytes instead of 10"):
        cache.read_bytes(f"{memory}/x.tar#bytes=2+3")
    assert kept(tmp_path) == 0
    monkeypatch.undo()
    assert cache.read_bytes(f"{memory}/x.tar#bytes=2+3") == b"234"


def test_local_and_single_files_are_read_where_they_are(memory: str, tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(b"0123456789")
    storage.write_bytes(f"{memory}/a.jpg", b"one")
    cache = ShardCache(tmp_path / "cache", 100)
    assert cache.read_bytes(f"{tmp_path}/x.tar#bytes=2+3") == b"234"
    assert cache.read_bytes(f"{memory}/a.jpg") == b"one"
    assert kept(tmp_path / "cache") == 0


def read_all(folder: str, uris: list[str], most: int) -> list[str]:
    cache = ShardCache(Path(folder), most)
    return [hashlib.sha256(cache.read_bytes(uri)).hexdigest() for uri in uris]


def test_processes_share_a_small_cache(s3_bucket: str, tmp_path: Path) -> None:
    """Each deletes what the other fetched, and neither ever reads a wrong byte."""
    dataset = photographs(tmp_path / "in")
    remote = write_shards(dataset, s3_bucket, max_bytes=SMALL)
    hashes = dataset.table.column("sha256").to_pylist()
    context = multiprocessing.get_context("spawn")
    with context.Pool(2) as pool:
        arguments = [(str(tmp_path / "cache"), remote.uris[::step], 2 * SMALL) for step in (1, -1)]
        forwards, backwards = pool.starmap(read_all, arguments)
    assert forwards == hashes
    assert backwards == hashes[::-1]
    assert kept(tmp_path / "cache") <= 2 * SMALL
