"""The source of generated scenes: written once, whole, and by several processes at a time."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from roadwork.data.sources.synthetic import Synthetic
from roadwork.settings import SyntheticSource

SETTINGS = SyntheticSource(drives=1, min_frames=1, max_frames=1, faults=False)
SCRIPT = """
import sys
from pathlib import Path
from roadwork.data.sources.synthetic import Synthetic
from roadwork.settings import SyntheticSource
settings = SyntheticSource(drives=1, min_frames=1, max_frames=1, faults=False)
source = Synthetic(settings, 0, Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.read()
print(len(list(source.rows())))
"""


def test_two_processes_at_once_both_succeed(tmp_path: Path) -> None:
    both = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in both:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in both:
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
    results = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], results
    counts = {out for out, _ in results}
    assert len(counts) == 1
    source = Synthetic(SETTINGS, 0, tmp_path)
    assert len(list(source.rows())) == int(counts.pop())
    assert list(tmp_path.iterdir()) == [source.folder]


def test_the_slower_of_two_takes_the_folder_of_the_faster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import roadwork.data.scenes as scenes

    source = Synthetic(SETTINGS, 0, tmp_path)
    draw, drawn = scenes.write_scenes, []

    def overtaken(root: Path, *arguments: object, **named: object) -> Path:
        path = draw(root, *arguments, **named)  # pyright: ignore[reportArgumentType]
        drawn.append(root)
        shutil.copytree(root, source.folder)
        (source.folder / "first").touch()
        return path

    monkeypatch.setattr(scenes, "write_scenes", overtaken)
    rows = list(source.rows())
    assert rows
    assert all(
        Path(row.uri).is_file() and Path(row.uri).is_relative_to(source.folder) for row in rows
    )
    assert (source.folder / "first").exists()
    assert list(tmp_path.iterdir()) == [source.folder]
    assert list(source.rows()) == rows
    assert len(drawn) == 1


def test_a_folder_without_its_table_is_not_taken(tmp_path: Path) -> None:
    source = Synthetic(SETTINGS, 0, tmp_path)
    source.folder.mkdir()
    (source.folder / "something").touch()
    with pytest.raises(OSError, match="not empty"):
        list(source.rows())
    assert list(tmp_path.iterdir()) == [source.folder]


def test_scenes_that_failed_half_way_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import roadwork.data.scenes as scenes

    def full(root: Path, *_: object, **__: object) -> Path:
        (root / "scenes.csv").touch()
        raise OSError("the disk is full")

    monkeypatch.setattr(scenes, "write_scenes", full)
    with pytest.raises(OSError, match="full"):
        list(Synthetic(SETTINGS, 0, tmp_path).rows())
    assert list(tmp_path.iterdir()) == []
