"""Containers: every row comes back, in every layout; damage and wrong places are named."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from roadwork.data import containers, storage
from roadwork.data.containers import BlockCache
from roadwork.data.storage import read_bytes
from roadwork.errors import DataError

ROWS = 23
IMAGES = [f"image {number}".encode() * (number + 1) for number in range(ROWS)]


@pytest.fixture(autouse=True)
def fresh() -> None:
    containers._blocks.clear()
    containers._footers.clear()


def struct_column() -> pa.Array:
    """As Hugging Face writes images."""
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.array([{"bytes": data, "path": "x.jpg"} for data in IMAGES], kind)


COLUMNS: dict[str, Callable[[], pa.Array]] = {
    "struct": struct_column,
    "binary": lambda: pa.array(IMAGES, pa.binary()),
    "large_binary": lambda: pa.array(IMAGES, pa.large_binary()),
    "dictionary": lambda: pa.array(IMAGES, pa.binary()).dictionary_encode(),
    "large_struct": lambda: pa.array(
        [{"path": None, "bytes": data} for data in IMAGES],
        pa.struct([("path", pa.large_string()), ("bytes", pa.large_binary())]),
    ),
}


def table(column: str) -> pa.Table:
    images = COLUMNS[column]()
    others = {"video_info.frame_id": pa.array([f"{n}.jpg" for n in range(ROWS)])}
    return pa.table({**others, "image": images, "image.bytes": pa.array([b"other"] * ROWS)})


def write_parquet(path: Path, made: pa.Table) -> None:
    pq.write_table(made, path, row_group_size=5)


def write_stream(path: Path, made: pa.Table) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, made.schema) as writer:
        writer.write_table(made, max_chunksize=4)


def write_file(path: Path, made: pa.Table) -> None:
    # A file, unlike a stream, may not replace a dictionary; one batch has one.
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, made.schema) as writer:
        writer.write_table(made)


def write_packed(path: Path, made: pa.Table) -> None:
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with (
        pa.OSFile(str(path), "wb") as sink,
        pa.ipc.new_stream(sink, made.schema, options=options) as writer,
    ):
        writer.write_table(made, max_chunksize=7)


LAYOUTS = {
    "parquet": ("x.parquet", write_parquet),
    "stream": ("x.arrow", write_stream),
    "file": ("x.arrow", write_file),
    "packed": ("x.arrow", write_packed),
}


def written(folder: Path, layout: str, made: pa.Table) -> str:
    name, write = LAYOUTS[layout]
    write(folder / name, made)
    return str(folder / name)


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_row_comes_back(layout: str, column: str, tmp_path: Path) -> None:
    made = table(column)
    if layout == "parquet":
        # Parquet's selection by path would take the column of that name too.
        made = made.drop_columns(["image.bytes"])
    file = written(tmp_path, layout, made)
    for number in (ROWS - 1, *range(ROWS)):
        assert read_bytes(f"{file}#row={number}") == IMAGES[number]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("store", ["memory", "s3_bucket"])
def test_containers_in_a_store(
    layout: str, store: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    local = Path(written(tmp_path, layout, table("struct").drop_columns(["image.bytes"])))
    uri = storage.join(request.getfixturevalue(store), local.name)
    storage.write_bytes(uri, local.read_bytes())
    for number in (0, 11, ROWS - 1):
        assert read_bytes(f"{uri}#row={number}") == IMAGES[number]
    with pytest.raises(DataError, match=r"has no row 23, only 23 rows"):
        read_bytes(f"{uri}#row={ROWS}")
    with pytest.raises(FileNotFoundError):
        read_bytes(f"{uri.replace('x.', 'y.')}#row=0")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_row_that_is_not_there(layout: str, tmp_path: Path) -> None:
    file = written(tmp_path, layout, table("binary"))
    with pytest.raises(DataError, match=r"x\.\w+ has no row 23, only 23 rows.*run ingest again"):
        read_bytes(f"{file}#row={ROWS}")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_container_that_is_not_there(layout: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_bytes(f"{tmp_path / LAYOUTS[layout][0]}#row=0")


@pytest.mark.parametrize("layout", ["parquet", "stream", "file"])
@pytest.mark.parametrize("keep", [0.0, 0.5, 0.95])
def test_a_container_that_was_cut_off(layout: str, keep: float, tmp_path: Path) -> None:
    path = Path(written(tmp_path, layout, table("struct")))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(DataError, match=rf"{path.name} (is damaged|is no Arrow)"):
        read_bytes(f"{path}#row={ROWS - 1}")


@pytest.mark.parametrize("name", ["x.parquet", "x.arrow"])
def test_a_container_of_something_else(name: str, tmp_path: Path, memory: str) -> None:
    (tmp_path / name).write_bytes(b"<html>Please log in</html>" * 10)
    storage.write_bytes(f"{memory}/{name}", b"<html>Please log in</html>" * 10)
    for file in (str(tmp_path / name), f"{memory}/{name}"):
        with pytest.raises(DataError, match=rf"{name} (is damaged|is no Arrow).* again"):
            read_bytes(f"{file}#row=0")


def test_damage_within_a_row_group_is_named(tmp_path: Path) -> None:
    made = pa.table({"image": pa.array([bytes(1000)] * 10, pa.binary())})
    path = tmp_path / "x.parquet"
    pq.write_table(made, path, row_group_size=5, compression="zstd")
    data = bytearray(path.read_bytes())
    start = pq.read_metadata(path).row_group(1).column(0).data_page_offset
    data[start : start + 40] = b"\xff" * 40
    path.write_bytes(data)
    assert read_bytes(f"{path}#row=4") == bytes(1000)
    with pytest.raises(DataError, match=r"x\.parquet is damaged"):
        read_bytes(f"{path}#row=5")


@pytest.mark.parametrize("layout", ["parquet", "stream"])
def test_wrong_columns_are_told(layout: str, tmp_path: Path) -> None:
    file = written(tmp_path, layout, pa.table({"picture": [b"x"], "label": [1]}))
    with pytest.raises(DataError, match=r"no column 'image'; it has: picture, label"):
        read_bytes(f"{file}#row=0")
    file = written(tmp_path, layout, pa.table({"image": ["x.jpg"]}))
    with pytest.raises(DataError, match=r"the column 'image' is string; it must hold encoded"):
        read_bytes(f"{file}#row=0")


@pytest.mark.parametrize("layout", ["parquet", "stream"])
def test_a_row_without_bytes(layout: str, tmp_path: Path) -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    images = pa.array([None, {"bytes": None, "path": "x.jpg"}, {"bytes": b"ok"}], kind)
    file = written(tmp_path, layout, pa.table({"image": images}))
    for number in (0, 1):
        with pytest.raises(DataError, match=f"row {number} holds no image bytes"):
            read_bytes(f"{file}#row={number}")
    assert read_bytes(f"{file}#row=2") == b"ok"


def test_a_file_that_was_written_anew_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"image": [b"old"]}), path)
    assert read_bytes(f"{path}#row=0") == b"old"
    pq.write_table(pa.table({"image": [b"newer", b"one more"]}), path)
    assert read_bytes(f"{path}#row=0") == b"newer"
    assert read_bytes(f"{path}#row=1") == b"one more"


def test_slices_of_a_tar(tmp_path: Path, memory: str) -> None:
    (tmp_path / "x.tar").write_bytes(b"0123456789")
    storage.write_bytes(f"{memory}/x.tar", b"0123456789")
    for file in (f"{tmp_path}/x.tar", f"{memory}/x.tar"):
        assert read_bytes(f"{file}#bytes=2+3") == b"234"
        with pytest.raises(DataError, match=r"x\.tar ends within the 5 bytes at 8"):
            read_bytes(f"{file}#bytes=8+5")
        for wrong in ("23", "2+", "+3", "2+3+4"):
            with pytest.raises(DataError, match="offset\\+length"):
                read_bytes(f"{file}#bytes={wrong}")
    with pytest.raises(FileNotFoundError):
        read_bytes(f"{tmp_path}/y.tar#bytes=2+3")


def test_neighbours_are_decoded_once_by_all_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path, "parquet", table("struct").drop_columns(["image.bytes"]))
    groups: list[int] = []
    decode = pq.ParquetFile.read_row_group

    def counted(self: Any, number: int, **options: Any) -> Any:
        groups.append(number)
        return decode(self, number, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    with ThreadPoolExecutor(4) as pool:
        uris = [f"{file}#row={number}" for number in range(ROWS)]
        assert list(pool.map(read_bytes, uris * 3)) == IMAGES * 3
    assert sorted(groups) == [0, 1, 2, 3, 4]


def test_the_oldest_blocks_go_first() -> None:
    cache = BlockCache(10)
    made: list[str] = []

    def make(key: str, cost: int) -> str:
        def inner() -> tuple[str, int]:
            made.append(key)
            return key.upper(), cost

        return cache.get(key, inner)

    for key in "abcab":
        assert make(key, 4) == key.upper()
    # c drove a out, a drove b out, b drove c out.
    assert made == ["a", "b", "c", "a", "b"]
    assert cache.total == 8
    make("a", 4)
    assert made[-1] == "b"
    make("large", 11)  # larger than all: stays alone until the next
    assert cache.total == 11
    make("a", 4)
    assert cache.total == 4


def test_a_failure_reaches_all_who_wait_and_is_not_remembered() -> None:
    cache = BlockCache(10)
    waiting = threading.Event()

    def fail() -> tuple[str, int]:
        waiting.wait(5)
        raise DataError("broken")

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(cache.get, "a", fail)
        second = pool.submit(cache.get, "a", fail)
        waiting.set()
        for future in (first, second):
            with pytest.raises(DataError, match="broken"):
                future.result()
    assert cache.get("a", lambda: ("now", 1)) == "now"
