"""The launcher: trains with several processes on behalf of one.

The caller writes what training needs into a folder and starts one worker
(:mod:`roadwork.training.worker`) for each process, with torchrun's environment variables, as
``torchrun --standalone`` would. It is not torchrun itself that starts them, for three reasons: the
worker that failed first is known, with its own words, where torchrun shows a page about all of
them; workers end with their launcher, however it ends, where torchrun's go on; and what workers log
reaches the loggers and the tracker of the caller.

Workers write one line of JSON behind a mark for every record and every group of logged values; any
other line goes on to the standard error as it is.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from roadwork import errors
from roadwork.errors import Interrupted, RoadworkError, TrainingError
from roadwork.settings import Settings
from roadwork.training.curves import Point, Tracker
from roadwork.training.processes import cores, require_devices, warn_of_cores

if TYPE_CHECKING:
    from torch.distributed import TCPStore

__all__ = ["JOB", "MARK", "Saved", "launched", "run_workers"]

logger = logging.getLogger(__name__)

MARK = "\x1e"
"""Begins a line that a worker means for its launcher."""

JOB = "job.json"
"""Says what to do, in the folder of :func:`launched`."""

_TAIL = 12  # lines of a worker that died without a word are shown
_GRACE = 20.0  # seconds to stop in after an interrupt


class Saved(Protocol):
    """What can be handed to workers."""

    def save(self, folder: Path) -> None:
        """Write files into a folder."""
        ...


@contextmanager
def launched(
    task: str,
    inputs: Mapping[str, Saved],
    settings: Settings,
    checkpoints: Path,
    tracker: Tracker | None = None,
) -> Iterator[Path]:
    """Run a task of :data:`roadwork.training.worker.TASKS` in ``compute.processes`` processes.

    Args:
        task: its name.
        inputs: its data and models, by name.
        settings: resolved settings.
        checkpoints: folder of all checkpoints.
        tracker: is told of the points that the first worker logs.

    Yields:
        The folder with the task's results, which is deleted afterwards.

    Raises:
        ConfigError: there are fewer GPUs than processes.
        RoadworkError: whatever a worker raised, as its own class.
        Interrupted: somebody stopped training.
        TrainingError: a worker died.
    """
    processes, strategy = settings.compute.processes, settings.compute.strategy
    require_devices(processes)
    logger.info("%s: %d processes are started (%s)", task, processes, strategy)
    warn_of_cores(processes)
    with tempfile.TemporaryDirectory(prefix="roadwork-") as temporary:
        folder = Path(temporary)
        for name, value in inputs.items():
            (folder / name).mkdir()
            value.save(folder / name)
        (folder / "results").mkdir()
        (folder / "settings.json").write_text(settings.model_dump_json())
        job = {"task": task, "checkpoints": str(checkpoints.resolve()), "inputs": list(inputs)}
        (folder / JOB).write_text(json.dumps(job))
        command = [sys.executable, "-m", "roadwork.training.worker", str(folder)]
        run_workers(command, processes, folder, tracker)
        yield folder / "results"


def run_workers(
    command: list[str], processes: int, folder: Path, tracker: Tracker | None = None
) -> None:
    """Run one command as several processes that can meet, until all have ended well.

    Args:
        command: of every process.
        processes: how many.
        folder: where a worker that fails leaves ``error-RANK.json``
            (:func:`roadwork.training.worker.report`).
        tracker: is told of points.

    Raises:
        RoadworkError: whatever the worker that failed first raised, as its own class.
        Interrupted: somebody stopped training.
        TrainingError: a worker died.
    """
    store = _meeting_place()
    workers = _Workers(processes, tracker)
    try:
        workers.start(command, store.port)
        failed = workers.wait()
    except KeyboardInterrupt:
        workers.interrupt()
        raise Interrupted(
            "training was interrupted; the same command goes on from the last checkpoint"
        ) from None
    finally:
        workers.end()
    if failed is not None:
        raise _error(folder, failed, workers.codes[failed], workers.tails[failed], processes)


def _meeting_place() -> TCPStore:
    """Where the workers meet: held here, so that no port is promised that another may take."""
    from torch.distributed import TCPStore

    # Left to itself it would listen to all networks.
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    return TCPStore(
        "127.0.0.1",
        port,
        is_master=True,
        wait_for_workers=False,
        master_listen_fd=listener.detach(),
    )


class _Workers:
    """The running processes, and what they say."""

    def __init__(self, processes: int, tracker: Tracker | None) -> None:
        self.processes = processes
        self.tracker = tracker
        self.codes: dict[int, int] = {}
        self.tails: list[deque[str]] = [deque(maxlen=_TAIL) for _ in range(processes)]
        self._lines: queue.SimpleQueue[tuple[int, str]] = queue.SimpleQueue()
        self._running: dict[int, subprocess.Popen[str]] = {}
        self._readers: dict[int, threading.Thread] = {}

    def start(self, command: list[str], port: int) -> None:
        """Start all; whatever goes wrong, :meth:`end` ends those that run."""
        for rank in range(self.processes):
            # A session of its own: an interrupt from the terminal comes here, and once to each.
            worker = subprocess.Popen(
                command,
                env=_environment(rank, self.processes, port),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            )
            self._running[rank] = worker
            reader = threading.Thread(target=self._read, args=(rank, worker), daemon=True)
            reader.start()
            self._readers[rank] = reader

    def wait(self) -> int | None:
        """Until all have ended well, or one has not: its rank."""
        while self._running:
            self._pass_on(0.05)
            if self._look():
                for rank in self.codes:
                    self._readers[rank].join(1.0)
                self._pass_on(0.0)
                return self._first_failure()
        self._pass_on(0.0)
        return None

    def interrupt(self) -> None:
        """Ask all to stop, and give them time to."""
        for worker in self._running.values():
            worker.send_signal(signal.SIGINT)
        deadline = time.monotonic() + _GRACE
        while self._running and time.monotonic() < deadline:
            self._pass_on(0.05)
            self._look()

    def end(self) -> None:
        """Whoever still runs is ended, with what it has started."""
        for worker in self._running.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()
        for reader in self._readers.values():
            reader.join(1.0)
        self._pass_on(0.0)

    def _look(self) -> bool:
        """Take those off the list that have ended; whether one of them has not ended well."""
        for rank, worker in list(self._running.items()):
            if (code := worker.poll()) is not None:
                self.codes[rank] = code
                del self._running[rank]
        return any(self.codes.values())

    def _first_failure(self) -> int:
        """A worker that a signal ended takes the others with it: their errors come from there."""
        failed = {rank: code for rank, code in self.codes.items() if code}
        return min(failed, key=lambda rank: (failed[rank] > 0, rank))

    def _read(self, rank: int, worker: subprocess.Popen[str]) -> None:
        assert worker.stdout is not None
        with worker.stdout:
            for line in worker.stdout:
                self._lines.put((rank, line))
        if worker.stdin is not None:
            with contextlib.suppress(OSError):
                worker.stdin.close()

    def _pass_on(self, patience: float) -> None:
        """Give lines to whom they are meant for, in this thread; wait for the first one."""
        with contextlib.suppress(queue.Empty):
            while True:
                rank, line = self._lines.get(patience > 0, patience)
                patience = 0.0
                if not (line.startswith(MARK) and self._told(rank, line)):
                    self.tails[rank].append(line)
                    sys.stderr.write(line)

    def _told(self, rank: int, line: str) -> bool:
        """Take a marked line; False where it cannot be read, as two may have run into one."""
        try:
            told = json.loads(line[len(MARK) :])
        except ValueError:
            return False
        if "points" in told and self.tracker is not None:
            self.tracker.log([Point(*values) for values in told["points"]])
        if "message" in told:
            self.tails[rank].append(f"{told['message']}\n")
            logging.getLogger(told["name"]).log(told["level"], "%s", told["message"])
        return True


def _environment(rank: int, processes: int, port: int) -> dict[str, str]:
    """The caller's, with what torchrun would say."""
    told = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": processes,
        "LOCAL_WORLD_SIZE": processes,
        "GROUP_RANK": 0,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "TORCHELASTIC_USE_AGENT_STORE": True,
    }
    usual = {"OMP_NUM_THREADS": str(max(1, cores() // processes))}
    if sys.platform == "linux":
        # All are on this machine, whatever its name resolves to.
        usual["GLOO_SOCKET_IFNAME"] = "lo"
    return {**usual, **os.environ, **{name: str(value) for name, value in told.items()}}


def _error(folder: Path, rank: int, code: int, tail: deque[str], processes: int) -> RoadworkError:
    """What the caller shall know of a worker that failed."""
    records = [json.loads(path.read_text()) for path in folder.glob("error-*.json")]
    if code > 0 and records:
        # All raise what all find wrong; otherwise the first one's error broke the others' line.
        first = min(records, key=lambda record: record["time"])
        kind = getattr(errors, first["kind"], None)
        if kind is not None:
            return kind(first["message"])
        rank, said = first["rank"], first["message"]
    else:
        said = "".join(tail).strip() or "it said nothing"
    end = "failed"
    if code < 0:
        end = f"was ended by {signal.Signals(-code).name}"
        if -code == signal.SIGKILL:
            end += ", by somebody or by the system for lack of memory"
    return TrainingError(
        f"process {rank} of {processes} (counted from 0) {end}. The same command goes on from the "
        f"last checkpoint. Its last words:\n{said}"
    )
