"""Progress of long work: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["progress"]

logger = logging.getLogger(__name__)
_LINE_EVERY = 10.0  # seconds between two plain lines

Update = Callable[[int, int], None]


@contextmanager
def progress(title: str) -> Iterator[Update]:
    """Give a function ``update(done, total)`` that shows how far the work is."""
    bar = _bar(title) if sys.stderr.isatty() else _lines(title)
    with bar as update:
        yield update


@contextmanager
def _bar(title: str) -> Iterator[Update]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as shown:
        task = shown.add_task(title, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)


@contextmanager
def _lines(title: str) -> Iterator[Update]:
    start = last = time.monotonic()

    def update(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _LINE_EVERY or done == total:
            last = now
            rate = done / max(now - start, 1e-9)
            logger.info("%s: %d of %d (%.0f/s)", title, done, total, rate)

    yield update
