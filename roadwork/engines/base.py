"""What an engine is: something that turns views into logits."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from roadwork.errors import DataError

if TYPE_CHECKING:
    from roadwork.bundle import ModelBundle

__all__ = [
    "Availability",
    "Engine",
    "EngineInfo",
    "Logits",
    "Views",
    "count_threads",
    "one_by_one",
    "package_available",
]

Views = NDArray[np.uint8]
Logits = NDArray[np.float32]


class Engine(Protocol):
    """An opened model. ``run`` may be called from several threads at once."""

    @property
    def name(self) -> str:
        """Name in the registry."""
        ...

    def run(self, views: Views) -> Logits:
        """Logits float32 (N, K) of uint8 views (N, V, S, S, 3), N at least 1.

        Raises:
            DataError: the views have another type or number of axes, or none are given.
        """
        ...


class Availability(NamedTuple):
    """Whether an engine can run here, and why (not)."""

    usable: bool
    reason: str


@dataclass(frozen=True)
class EngineInfo:
    """One entry of the registry.

    Attributes:
        name: how settings and ``parity.json`` call it.
        title: how people call it.
        available: asks whether it can run on this machine, without loading a model.
        open: opens a bundle's model on a number of CPU threads (0: all).
    """

    name: str
    title: str
    available: Callable[[], Availability]
    open: Callable[[ModelBundle, int], Engine]


def package_available(package: str, extra: str) -> Availability:
    """Availability of an engine that is a Python package; does not import it."""
    if find_spec(package) is None:
        fix = f'pip install "roadwork[{extra}]"'
        return Availability(False, f"the package {package} is not installed: {fix}")
    return Availability(True, f"the package {package} is installed")


def count_threads(threads: int) -> int:
    """``threads``, or the number of CPUs that this process may use when it is 0."""
    return threads or len(os.sched_getaffinity(0))


def one_by_one(views: Views, run: Callable[[Views], Logits]) -> Logits:
    """Run image after image, so that an answer has the same bits alone and in any batch.

    On a CPU a batch gains next to nothing, because one image fills the cores already; memory
    stays that of one image however many come.

    Raises:
        DataError: the views have another type or number of axes, or none are given.
    """
    if views.dtype != np.uint8 or views.ndim != 5 or views.shape[-1] != 3 or not len(views):
        raise DataError(
            "an engine takes uint8 views (N, V, S, S, 3) with N >= 1, but was given "
            f"{views.dtype} {views.shape}"
        )
    # A copy is contiguous and writable, whatever slice or memory map the views come from.
    rows = [run(views[i : i + 1].copy()) for i in range(len(views))]
    return np.concatenate(rows).astype(np.float32, copy=False)
