"""The view cache: what it gives was put there whole, whatever happened to the file."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from roadwork.data import loading
from roadwork.data.loading import ViewReader
from roadwork.data.manifest import TrainSet
from roadwork.data.view_cache import ViewCache, ViewFolder
from tests.data import made

SHAPE = (2, 4, 4, 3)
RECORD = 8 + 96
PLENTY = 1 << 30


_HOLD = """
import ast, sys
from pathlib import Path
from roadwork.data.view_cache import ViewCache
cache = ViewCache(Path(sys.argv[1]), 2, ast.literal_eval(sys.argv[2]))
print("open", flush=True)
sys.stdin.read()
"""


def views_of(row: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(row).integers(0, 256, shape, dtype=np.uint8)


def photographs(folder: Path, count: int) -> TrainSet:
    rows = []
    for number in range(count):
        path = folder / f"{number}.png"
        Image.fromarray(views_of(number, (30, 50, 3))).save(path)
        rows.append(made.row(number, uri=str(path)))
    return TrainSet(made.table(rows))


@pytest.fixture
def no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """No set fits into memory."""
    monkeypatch.setattr(loading, "_CACHE_BYTES", 0)


class Counted:
    """Reads files and counts them."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, uri: str) -> bytes:
        self.asked.append(uri)
        return Path(uri).read_bytes()


def test_rows_come_back_in_any_order_and_from_another_opening(tmp_path: Path) -> None:
    path = tmp_path / "set.views"
    cache = ViewCache(path, 5, SHAPE)
    assert [cache.get(row) for row in range(5)] == [None] * 5
    for row in (3, 0, 4):
        cache.put(row, views_of(row))
    again = ViewCache(path, 5, SHAPE)
    for row in (0, 3, 4):
        found = again.get(row)
        assert found is not None
        assert found.dtype == np.uint8
        assert (found == views_of(row)).all()
    assert again.get(1) is None
    assert path.stat().st_size == 5 * RECORD
    assert cache.get(99) is None  # beyond the end


def test_a_record_of_zeros_is_none_yet_black_views_are_some(tmp_path: Path) -> None:
    cache = ViewCache(tmp_path / "set.views", 2, SHAPE)
    cache.put(1, np.zeros(SHAPE, dtype=np.uint8))
    assert cache.get(0) is None
    found = cache.get(1)
    assert found is not None
    assert not found.any()


@given(place=st.integers(0, RECORD - 1), bit=st.integers(0, 7))
def test_one_wrong_bit_anywhere_in_a_record_counts_as_nothing(
    place: int, bit: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("bits") / "set.views"
    cache = ViewCache(path, 3, SHAPE)
    for row in range(3):
        cache.put(row, views_of(row))
    data = bytearray(path.read_bytes())
    data[RECORD + place] ^= 1 << bit
    path.write_bytes(data)
    cache = ViewCache(path, 3, SHAPE)
    assert cache.get(1) is None
    for row in (0, 2):
        assert (cache.get(row) == views_of(row)).all()  # pyright: ignore[reportAttributeAccessIssue]
    cache.put(1, views_of(1))
    assert (cache.get(1) == views_of(1)).all()  # pyright: ignore[reportAttributeAccessIssue]


def test_a_file_cut_off_under_a_reader_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "set.views"
    cache = ViewCache(path, 3, SHAPE)
    for row in range(3):
        cache.put(row, views_of(row))
    os.truncate(path, RECORD + 50)
    assert cache.get(0) is not None
    assert cache.get(1) is None
    assert cache.get(2) is None


@pytest.mark.parametrize("short", [False, True], ids=["refused", "cut off"])
def test_a_full_disk_ends_the_keeping_and_is_said_once(
    short: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    cache = ViewCache(tmp_path / "set.views", 4, SHAPE)
    cache.put(0, views_of(0))
    real = os.pwritev

    def full(file: int, parts: list, place: int) -> int:
        if not short:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(file, [memoryview(parts[0]), memoryview(parts[1]).cast("B")[:20]], place)

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING, "roadwork"):
        patch.setattr(os, "pwritev", full)
        cache.put(1, views_of(1))
        cache.put(2, views_of(2))
    assert len(caplog.records) == 1
    assert "Free disk space" in caplog.text
    assert "compute.view_cache_gigabytes" in caplog.text
    assert cache.get(0) is not None
    assert cache.get(1) is None
    cache.put(3, views_of(3))
    assert cache.get(3) is None


def test_the_second_pass_does_not_decode(tmp_path: Path, no_memory: None) -> None:
    dataset = photographs(tmp_path, 5)
    folder = ViewFolder(tmp_path / "views", PLENTY)
    plain = ViewReader(dataset, 16, 9)
    first, second = Counted(), Counted()
    reader = ViewReader(dataset, 16, 9, read=first, folder=folder)
    for _ in range(2):
        assert (reader.take([4, 0, 2]) == plain.take([4, 0, 2])).all()
    assert len(first.asked) == 3
    # What one run has decoded, the next one need not.
    later = ViewReader(dataset, 16, 9, read=second, folder=folder)
    assert (np.concatenate(list(later.batches(2))) == plain.take(range(5))).all()
    assert sorted(second.asked) == sorted(dataset.uris[row] for row in (1, 3))


def test_what_fits_into_memory_makes_no_file(tmp_path: Path) -> None:
    dataset = photographs(tmp_path, 2)
    ViewReader(dataset, 16, 0, folder=ViewFolder(tmp_path / "views", PLENTY)).take([0, 1])
    assert not (tmp_path / "views").exists()


def other_photograph(folder: Path) -> tuple[TrainSet, int, object]:
    rows = [made.row(0, uri=str(folder / "0.png")), made.row(7, uri=str(folder / "1.png"))]
    return TrainSet(made.table(rows)), 16, 0


@pytest.mark.parametrize(
    "change",
    [
        other_photograph,
        lambda folder: (photographs(folder, 2), 17, 0),
        lambda folder: (photographs(folder, 2), 16, 9),
        lambda folder: (photographs(folder, 2), 16, "aspect"),
    ],
    ids=["photograph", "size", "tiles", "layout"],
)
def test_whatever_changes_a_byte_has_a_file_of_its_own(
    change: Callable[[Path], tuple], tmp_path: Path
) -> None:
    folder = ViewFolder(tmp_path / "views", PLENTY)
    first = folder.open(photographs(tmp_path, 2), 16, 0)
    again = folder.open(photographs(tmp_path, 2), 16, 0)
    other = folder.open(*change(tmp_path))
    assert first is not None
    assert again is not None
    assert other is not None
    assert first.path == again.path != other.path


def test_nine_tiles_and_nine_by_aspect_are_not_confused(tmp_path: Path) -> None:
    folder = ViewFolder(tmp_path / "views", PLENTY)
    dataset = photographs(tmp_path, 1)
    nine, aspect = folder.open(dataset, 16, 9), folder.open(dataset, 16, "aspect")
    assert nine is not None
    assert aspect is not None
    assert nine.shape == aspect.shape
    assert nine.path != aspect.path


def test_other_code_or_another_pillow_decodes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ViewFolder(tmp_path / "views", PLENTY)
    dataset = photographs(tmp_path, 1)
    paths = set()
    for name, value in (("nothing", None), ("code_hash", lambda _: "other"), ("PIL", made)):
        with monkeypatch.context() as patch:
            patch.setattr(made, "__version__", "0.0", raising=False)
            if value is not None:
                patch.setattr(f"roadwork.data.view_cache.{name}", value)
            cache = folder.open(dataset, 16, 0)
            assert cache is not None
            paths.add(cache.path)
    assert len(paths) == 3


def test_the_least_recently_opened_make_room(tmp_path: Path) -> None:
    one = 2 * (8 + 16 * 16 * 3)
    folder = ViewFolder(tmp_path / "views", 2 * one)
    dataset = photographs(tmp_path, 2)
    paths = []
    for age, size in enumerate((16, 15)):
        cache = folder.open(dataset, size, 0)
        assert cache is not None
        os.utime(cache.path, (age, age))
        paths.append(cache.path)
        del cache
    old, young = paths
    assert folder.open(dataset, 16, 0) is not None  # used again: now the younger one
    assert folder.open(dataset, 14, 0) is not None
    assert old.exists()
    assert not young.exists()


def test_sets_of_one_run_do_not_take_each_others_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = photographs(tmp_path, 2)
    folder = ViewFolder(tmp_path / "views", 2 * 2 * (8 + 16 * 16 * 3))
    first, second = folder.open(dataset, 16, 0), folder.open(dataset, 15, 0)
    assert first is not None and second is not None
    first.put(0, views_of(0, first.shape))
    with caplog.at_level(logging.INFO, "roadwork"):
        assert folder.open(dataset, 14, 0) is None
    assert "more than compute.view_cache_gigabytes leaves room for" in caplog.text
    assert first.path.exists() and second.path.exists()
    assert (first.get(0) == views_of(0, first.shape)).all()  # pyright: ignore
    # Opened twice, it is in use until both have let go.
    again = folder.open(dataset, 16, 0)
    path = first.path
    del first
    second_path = second.path
    assert folder.open(dataset, 14, 0) is None
    del again
    assert folder.open(dataset, 14, 0) is not None
    assert not path.exists()
    assert second_path.exists()


def test_nothing_is_deleted_where_that_would_not_make_enough_room(tmp_path: Path) -> None:
    dataset = photographs(tmp_path, 2)
    one = 2 * (8 + 16 * 16 * 3)
    folder = ViewFolder(tmp_path / "views", 2 * one)
    idle = folder.open(dataset, 15, 0)
    assert idle is not None
    path = idle.path
    del idle
    held = folder.open(dataset, 16, 0)
    assert held is not None
    assert folder.open(dataset, 20, 0) is None
    assert path.exists()


def test_what_another_process_has_open_stays(tmp_path: Path) -> None:
    dataset = photographs(tmp_path, 2)
    folder = ViewFolder(tmp_path / "views", 2 * (8 + 16 * 16 * 3))
    cache = folder.open(dataset, 16, 0)
    assert cache is not None
    path, shape = cache.path, cache.shape
    del cache
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(path), repr(shape)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": "."},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        assert folder.open(dataset, 15, 0) is None
        other.kill()  # the system takes its lock back
        other.wait()
    assert folder.open(dataset, 15, 0) is not None
    assert not path.exists()


def test_a_set_larger_than_the_limit_is_decoded_each_time(
    tmp_path: Path, no_memory: None, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = photographs(tmp_path, 2)
    read = Counted()
    with caplog.at_level(logging.INFO, "roadwork"):
        reader = ViewReader(dataset, 16, 0, read=read, folder=ViewFolder(tmp_path / "views", 100))
    assert "more than compute.view_cache_gigabytes" in caplog.text
    for _ in range(2):
        reader.take([0, 1])
    assert len(read.asked) == 4
    assert not (tmp_path / "views").exists()


def test_a_folder_that_cannot_be_written_is_no_error(
    tmp_path: Path, no_memory: None, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "views").write_text("a file")
    dataset = photographs(tmp_path, 1)
    with caplog.at_level(logging.WARNING, "roadwork"):
        reader = ViewReader(dataset, 16, 0, folder=ViewFolder(tmp_path / "views", PLENTY))
    assert "no views are kept in" in caplog.text
    assert (reader(0) == ViewReader(dataset, 16, 0)(0)).all()


_FILL = """
import sys
import numpy as np
from pathlib import Path
from roadwork.data.view_cache import ViewCache
cache = ViewCache(Path(sys.argv[1]), 40, (2, 64, 64, 3))
for row in np.random.default_rng(int(sys.argv[2])).permutation(40).repeat(5):
    views = np.random.default_rng(int(row)).integers(0, 256, cache.shape, dtype=np.uint8)
    found = cache.get(int(row))
    assert found is None or (found == views).all()
    cache.put(int(row), views)
print("done")
"""


def test_processes_fill_one_file_together(tmp_path: Path) -> None:
    path = tmp_path / "set.views"
    both = [
        subprocess.Popen(
            [sys.executable, "-c", _FILL, str(path), str(seed)],
            cwd=Path(__file__).parents[2],
            env={**os.environ, "PYTHONPATH": "."},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in (0, 1)
    ]
    for process in both:
        out, err = process.communicate(timeout=120)
        assert out == "done\n", err
    cache = ViewCache(path, 40, (2, 64, 64, 3))
    for row in range(40):
        assert (cache.get(row) == views_of(row, cache.shape)).all()  # pyright: ignore
