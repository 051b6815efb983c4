"""The launcher: what workers say arrives, the first failure is told, nobody outlives the caller."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from roadwork.cascade.train import train_cascade
from roadwork.data.splits import Splits
from roadwork.errors import ConfigError, DataError, TrainingError
from roadwork.settings import Settings
from roadwork.training import launch
from roadwork.training.curves import Point
from roadwork.training.finetune import Finetuned, finetune
from roadwork.training.launch import run_workers
from roadwork.training.probe import fit_probe
from roadwork.training.processes import cores
from tests.training.made_photos import small_backbone, small_settings

# Of a worker that fails as roadwork.training.worker does, but starts in no time.
_FAIL = """
import json, os, sys, time
def fail(kind, message, when=None):
    rank = os.environ["RANK"]
    record = {"rank": int(rank), "kind": kind, "message": message, "time": when or time.time()}
    open(os.path.join(FOLDER, f"error-{rank}.json"), "w").write(json.dumps(record))
    os._exit(1)
"""


def run(code: str, folder: Path, processes: int = 2, **kind: Any) -> None:
    code = f"FOLDER = {str(folder)!r}\n{_FAIL}\n{code}"
    run_workers([sys.executable, "-c", code], processes, folder, **kind)


def gone(pid: int) -> bool:
    """Ended, though perhaps not yet taken off the list by its parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def wait_for(fact: Callable[[], Any], seconds: float = 60.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := fact()):
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)
    return found


def test_every_worker_is_told_who_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    run(
        """
names = ["RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT",
         "OMP_NUM_THREADS"]
open(os.path.join(FOLDER, os.environ["RANK"]), "w").write(
    json.dumps([os.environ[name] for name in names])
)
""",
        tmp_path,
        processes=3,
    )
    told = [json.loads((tmp_path / str(rank)).read_text()) for rank in range(3)]
    threads = str(max(1, cores() // 3))
    for rank, values in enumerate(told):
        assert values[:5] == [str(rank), str(rank), "3", "3", "127.0.0.1"]
        assert values[6] == threads
    assert len({values[5] for values in told}) == 1
    assert int(told[0][5]) > 0


def test_what_workers_say_arrives(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    points: list[Point] = []

    class Tracker:
        def log(self, points_: Sequence[Point]) -> None:
            assert threading.current_thread() is threading.main_thread()
            points.extend(points_)

    with caplog.at_level(logging.INFO, "roadwork"):
        run(
            """
def say(told):
    print("\\x1e" + json.dumps(told), file=sys.stderr, flush=True)
if os.environ["RANK"] == "0":
    say({"name": "roadwork.some", "level": 20, "message": "all is well: 100 %"})
    say({"points": [["train/loss", 3, 1, 0.5, 0.25]]})
    print("a plain line")
    print("\\x1e{ no line of ours", flush=True)
""",
            tmp_path,
            tracker=Tracker(),
        )
    assert [(r.name, r.getMessage()) for r in caplog.records] == [
        ("roadwork.some", "all is well: 100 %")
    ]
    assert points == [Point("train/loss", 3, 1, 0.5, 0.25)]
    printed = capsys.readouterr().err
    assert "a plain line\n" in printed
    assert "no line of ours" in printed
    assert "all is well" not in printed


def test_an_error_of_ours_is_raised_as_itself(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^compute\.attention: there is none$"):
        run('fail("ConfigError", "compute.attention: there is none")', tmp_path)


def test_the_first_error_counts(tmp_path: Path) -> None:
    """The second one comes of the first: a line that was cut."""
    code = """
if os.environ["RANK"] == "1":
    fail("DataError", "the cause", when=1.0)
fail("", "RuntimeError: Connection closed by peer", when=2.0)
"""
    with pytest.raises(DataError, match=r"^the cause$"):
        run(code, tmp_path)


def test_an_error_of_others_is_told_with_its_lines(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"process [01] of 2 .* failed\. .*last words:\nValue"):
        run('fail("", "ValueError: 7")', tmp_path)


def test_a_worker_that_is_killed_is_the_cause_and_the_others_are_ended(tmp_path: Path) -> None:
    code = """
import signal
if os.environ["RANK"] == "1":
    print("the last", "words of it", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
open(os.path.join(FOLDER, "pid"), "w").write(str(os.getpid()))
time.sleep(600)
"""
    began = time.monotonic()
    with pytest.raises(TrainingError, match=r"process 1 of 2 .*SIGKILL.*memory") as caught:
        run(code, tmp_path)
    assert str(caught.value).endswith("Its last words:\nthe last words of it")
    assert time.monotonic() - began < 30
    if (tmp_path / "pid").exists():
        assert gone(int((tmp_path / "pid").read_text()))


def test_a_worker_that_leaves_without_a_word(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="it said nothing"):
        run("os._exit(3)", tmp_path)


@pytest.mark.parametrize("deaf", [False, True])
def test_an_interrupt_reaches_all_workers(
    deaf: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "_GRACE", 0.5)
    code = f"""
import signal
rank = os.environ["RANK"]
def stop(number, frame):
    open(os.path.join(FOLDER, "stopped-" + rank), "w").write("")
    if not {deaf}:
        sys.exit(1)
signal.signal(signal.SIGINT, stop)
open(os.path.join(FOLDER, "pid-" + rank), "w").write(str(os.getpid()))
while True:
    time.sleep(0.05)
"""

    def interrupt() -> None:
        wait_for(lambda: len(list(tmp_path.glob("pid-*"))) == 2)
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(TrainingError, match="interrupted; the same command goes on"):
        run(code, tmp_path)
    thread.join()
    assert len(list(tmp_path.glob("stopped-*"))) == 2
    for path in tmp_path.glob("pid-*"):
        assert gone(int(path.read_text()))


# Real workers, which know the backbones of the registry alone.


def settings(**changes: Any) -> Settings:
    fine = {"batch_size": 4, "epochs": 3, "learning_rate": 0.001, **changes.pop("finetune", {})}
    backbone = {"name": "vit_pico_patch16_dinov3"}
    return small_settings(backbone=backbone, finetune=fine, **changes)


def train(sets: Splits, folder: Path, wanted: Settings, **kind: Any) -> Finetuned:
    return finetune(small_backbone(wanted), sets.train, sets.select, wanted, folder, **kind)


def test_processes_that_cannot_share_a_batch_are_not_started(sets: Splits, tmp_path: Path) -> None:
    wanted = settings(finetune={"batch_size": 5}, compute={"processes": 2})
    with pytest.raises(ConfigError, match="a batch of 5 rows cannot be shared equally by 2"):
        train(sets, tmp_path, wanted)


def test_the_probe_and_the_cascade_stay_with_the_caller(
    sets: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what is worth several processes asks for them."""
    monkeypatch.setattr(launch.subprocess, "Popen", lambda *_, **__: pytest.fail("a worker"))
    found = []
    for count in (1, 2):
        wanted = small_settings(
            backbone={"views": {"tiles": 9}},
            cascade={"epochs": 2, "batch_size": 5},
            compute={"processes": count},
        )
        probe = fit_probe(small_backbone(wanted), sets.train, wanted)
        folder = tmp_path / str(count)
        trained = train_cascade(probe, sets.train, sets.select, wanted, folder)
        found.append((probe, trained))
    (probe, trained), (other, again) = found
    assert other.content_hash == probe.content_hash
    assert again.cascade.content_hash == trained.cascade.content_hash
    assert len(again.history["select_nll"]) == 3


def test_workers_meet_on_this_machine_alone() -> None:
    """Nobody else on the network can speak to them."""
    store = launch._meeting_place()
    listening = [
        line.split()[1].partition(":")[0]
        for path in ("/proc/net/tcp", "/proc/net/tcp6")
        for line in Path(path).read_text().splitlines()[1:]
        if line.split()[3] == "0A" and int(line.split()[1].partition(":")[2], 16) == store.port
    ]
    assert listening == ["0100007F"]


def test_a_worker_that_cannot_be_started_leaves_none_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[str]] = []
    real = subprocess.Popen

    def start(*given: Any, **kind: Any) -> subprocess.Popen[str]:
        if started:
            raise OSError("Resource temporarily unavailable")
        started.append(real(*given, **kind))
        return started[0]

    monkeypatch.setattr(launch.subprocess, "Popen", start)
    with pytest.raises(OSError, match="temporarily unavailable"):
        run("time.sleep(600)", tmp_path)
    assert started[0].returncode == -signal.SIGKILL


def workers_of(parent: int) -> dict[str, int]:
    """Process ids of a process's workers, by rank."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            above = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if above == parent:
                told = (folder / "environ").read_bytes().split(b"\0")
                named = dict(entry.decode().split("=", 1) for entry in told if b"=" in entry)
                if "LOCAL_WORLD_SIZE" in named:
                    found[named["RANK"]] = int(folder.name)
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found


class Tracker:
    """Remembers what it is told; does something at the first points of a pass, once."""

    def __init__(self, act: Callable[[], None]) -> None:
        self.act: Callable[[], None] | None = act
        self.seen: list[Point] = []

    def log(self, points: Sequence[Point]) -> None:
        self.seen.extend(points)
        if self.act is not None and points[-1].epoch > 0:
            act, self.act = self.act, None
            act()


needs_proc = pytest.mark.skipif(
    not Path("/proc/self/environ").exists(), reason="needs Linux's /proc"
)


@pytest.mark.slow
@needs_proc
def test_a_run_whose_worker_was_killed_goes_on_and_so_does_an_interrupted_one(
    sets: Splits, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    passes = {"epochs": 15, "patience": 15}
    whole = train(sets, tmp_path / "whole", settings(finetune=passes))
    wanted, folder = settings(finetune=passes, compute={"processes": 2}), tmp_path / "stopped"
    stops = {
        r"process 1 of 2 .*was ended by SIGKILL": lambda: os.kill(
            workers_of(os.getpid())["1"], signal.SIGKILL
        ),
        r"was interrupted; the same command goes on": lambda: os.kill(os.getpid(), signal.SIGINT),
    }
    for message, act in stops.items():
        with pytest.raises(TrainingError, match=message):
            train(sets, folder, wanted, tracker=Tracker(act))
        assert not workers_of(os.getpid())
        assert list(folder.glob("finetune-*/last.ckpt"))
    tracker = Tracker(lambda: None)
    with caplog.at_level(logging.INFO, "roadwork"):
        resumed = train(sets, folder, wanted, tracker=tracker)
    assert "going on from the checkpoint of step" in caplog.text
    losses = resumed.history["select_nll"]
    assert losses == pytest.approx(whole.history["select_nll"], abs=1e-4)
    assert resumed.classifier.exposure.to_bytes() == whole.classifier.exposure.to_bytes()
    told = {(point.name, point.step) for point in tracker.seen}
    curves = resumed.history["curves"]
    steps = max(curves["step"])
    assert steps == max(whole.history["curves"]["step"])
    assert told >= {("train/loss", step) for step in range(1, steps + 1)}
    assert told >= set(zip(curves["name"], curves["step"], strict=True)) - {("select/nll", 0)}
    assert not list(folder.iterdir())


_PARENT = """
import sys
from pathlib import Path
from roadwork.data.manifest import SelectSet, TrainSet
from roadwork.training.finetune import finetune
from tests.training.made_photos import small_backbone
from tests.training.test_launch import settings
folder = Path(sys.argv[1])
wanted = settings(finetune={"epochs": 1000, "patience": 1000}, compute={"processes": 2})
train, select = TrainSet.load(folder / "train"), SelectSet.load(folder / "select")
finetune(small_backbone(wanted), train, select, wanted, folder / "checkpoints")
"""


@pytest.mark.slow
@needs_proc
def test_workers_end_with_a_killed_launcher_and_clear_up_after_it(
    sets: Splits, tmp_path: Path
) -> None:
    for name in ("train", "select", "temporary"):
        (tmp_path / name).mkdir()
    sets.train.save(tmp_path / "train")
    sets.select.save(tmp_path / "select")
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": ".", "TMPDIR": str(tmp_path / "temporary")},
        start_new_session=True,
    )
    try:
        wait_for(lambda: list((tmp_path / "checkpoints").glob("finetune-*/last.ckpt")), 300)
        workers = workers_of(parent.pid)
        assert sorted(workers) == ["0", "1"]
        assert list((tmp_path / "temporary").glob("roadwork-*"))
    finally:
        parent.kill()
        parent.wait()
    wait_for(lambda: all(gone(pid) for pid in workers.values()))
    assert not list((tmp_path / "temporary").glob("roadwork-*"))
    assert list((tmp_path / "checkpoints").glob("finetune-*/last.ckpt"))
