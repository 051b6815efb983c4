"""A tracker that can never hold training up: it works in a thread, and its failure is a warning."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from roadwork.training.curves import Point, Tracker

__all__ = ["Connection", "LiveTracker"]

logger = logging.getLogger(__name__)


class Connection(Tracker, Protocol):
    """A tracker that must be closed."""

    def close(self) -> None:
        """Flush what was told; nothing comes after it."""


class LiveTracker:
    """Passes points on to another tracker from a thread of its own.

    The first failure, be it on opening, is logged as one warning; nothing is passed on after it.
    """

    def __init__(
        self, build: Callable[[], Connection], *, remedy: str = "training goes on"
    ) -> None:
        """Open the other tracker with ``build``, in the thread, when the first points come.

        Args:
            build: opens the other tracker.
            remedy: what becomes of the points after a failure, for the warning.
        """
        self._build = build
        self._remedy = remedy
        self._waiting: queue.SimpleQueue[Sequence[Point] | None] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def log(self, points: Sequence[Point]) -> None:
        """Hand over; returns at once."""
        if self._stopped.is_set():
            return
        if self._thread is None:
            # A daemon: a server that never answers must not keep the process alive.
            self._thread = threading.Thread(target=self._work, name="tracker", daemon=True)
            self._thread.start()
        self._waiting.put(list(points))

    def close(self, timeout: float = 30.0) -> None:
        """Pass on what waits and close the other tracker, within ``timeout`` seconds at most."""
        if self._thread is None:
            return
        self._waiting.put(None)
        self._thread.join(timeout)
        if self._thread.is_alive() and not self._stopped.is_set():
            self._give_up(f"it did not take all within {timeout:g} s")

    def _work(self) -> None:
        tracker: Connection | None = None
        while not self._stopped.is_set():
            points = self._waiting.get()
            try:
                tracker = tracker or self._build()
                if points is None:
                    tracker.close()
                    return
                tracker.log(points)
            # Whatever a server's client raises: the training is worth more than its live picture.
            except Exception as error:
                if not self._stopped.is_set():
                    self._give_up(str(error) or type(error).__name__)

    def _give_up(self, reason: str) -> None:
        self._stopped.set()
        logger.warning("the tracker failed and is told no more: %s; %s", reason, self._remedy)
