"""One process of several that train together: ``python -m roadwork.training.worker FOLDER``.

Started by :mod:`roadwork.training.launch`, which wrote the folder. All workers read the inputs and
train; the first one writes the results.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from torch import distributed

from roadwork import errors
from roadwork.data.manifest import SelectSet, TrainSet
from roadwork.errors import RoadworkError
from roadwork.models.backbone import Backbone
from roadwork.models.classifier import Classifier
from roadwork.settings import Settings
from roadwork.training.curves import Point
from roadwork.training.finetune import finetune
from roadwork.training.launch import JOB, MARK, Saved
from roadwork.training.pretrain import pretrain

__all__ = ["TASKS", "Printed", "at_work", "main", "report"]

_LINES = 8  # of a traceback


class Printed(logging.Handler):
    """A log handler and a tracker that hand everything to the launcher, line by line."""

    def emit(self, record: logging.LogRecord) -> None:
        """One record."""
        message = record.getMessage()
        if record.exc_info:
            message += "\n" + "".join(traceback.format_exception(*record.exc_info))
        self._say({"name": record.name, "level": record.levelno, "message": message})

    def log(self, points: Sequence[Point]) -> None:
        """Points of a curve."""
        self._say({"points": [list(point) for point in points]})

    @staticmethod
    def _say(told: Mapping[str, object]) -> None:
        # One call for the whole line: threads of one process do not mix theirs.
        sys.stderr.write(f"{MARK}{json.dumps(told)}\n")
        sys.stderr.flush()


def _finetune(folder: Path, given: Sequence[str], settings: Settings, checkpoints: Path) -> Saved:
    return finetune(
        Backbone.load(folder / "backbone"),
        TrainSet.load(folder / "train"),
        SelectSet.load(folder / "select"),
        settings,
        checkpoints,
        baseline=Classifier.load(folder / "baseline") if "baseline" in given else None,
        tracker=Printed(),
    )


def _pretrain(folder: Path, given: Sequence[str], settings: Settings, checkpoints: Path) -> Saved:
    return pretrain(
        Backbone.load(folder / "backbone"),
        TrainSet.load(folder / "train"),
        settings,
        checkpoints,
        tracker=Printed(),
    )


TASKS: Mapping[str, Callable[[Path, Sequence[str], Settings, Path], Saved]] = {
    "finetune": _finetune,
    "pretrain": _pretrain,
}
"""By name: from the folder, the names of what was handed over, settings and checkpoints."""


def report(folder: Path, error: BaseException) -> None:
    """Leave an error for the launcher: ours by its class, another one with where it happened."""
    ours = isinstance(error, RoadworkError) and hasattr(errors, type(error).__name__)
    lines = traceback.format_exception(error)
    last = "".join(lines).strip().splitlines()[-_LINES:]
    rank = int(os.environ["RANK"])
    record = {
        "rank": rank,
        "kind": type(error).__name__ if ours else "",
        "message": str(error) if ours else "\n".join(last),
        "time": time.time(),
    }
    partial = folder / f"error-{rank}.partial"
    partial.write_text(json.dumps(record))
    partial.replace(folder / f"error-{rank}.json")


@contextmanager
def at_work(folder: Path) -> Iterator[None]:
    """Log to the launcher, end with it, and leave it what goes wrong."""
    threading.Thread(target=_end_with_the_launcher, args=(folder,), daemon=True).start()
    root = logging.getLogger()
    root.addHandler(Printed())
    # One speaks for all, as long as there is nothing to complain of.
    root.setLevel(logging.WARNING)
    logging.getLogger("roadwork").setLevel(
        logging.INFO if os.environ["RANK"] == "0" else logging.WARNING
    )
    try:
        yield
    except BaseException as error:
        report(folder, error)
        # Not by way of the interpreter's end: other threads may wait for processes that are gone.
        sys.stderr.flush()
        os._exit(1)
    if distributed.is_initialized():
        distributed.destroy_process_group()


def _end_with_the_launcher(folder: Path) -> None:
    """The launcher holds the other end of the standard input for as long as it lives."""
    os.read(0, 1)  # not through sys.stdin, whose lock would be held when the interpreter ends
    # It was killed before it could delete its temporary folder, which holds a job.
    if (folder / JOB).exists():
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


def main(folder: Path) -> None:
    """Do the job in a folder."""
    with at_work(folder):
        job = json.loads((folder / JOB).read_text())
        settings = Settings.model_validate_json((folder / "settings.json").read_text())
        done = TASKS[job["task"]](folder, job["inputs"], settings, Path(job["checkpoints"]))
        if os.environ["RANK"] == "0":
            done.save(folder / "results")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
