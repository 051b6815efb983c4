"""What a bundle costs: its size, and the time of an answer on this machine."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from roadwork.evidence import Latency

if TYPE_CHECKING:
    from roadwork.bundle import ModelBundle

__all__ = ["measure_latency", "megabytes"]

_PASSES = 3


def megabytes(bundle: ModelBundle) -> float:
    """Size of every file of a bundle together, in units of 10^6 bytes."""
    return sum((bundle.path / name).stat().st_size for name in bundle.digests) / 1e6


def measure_latency(bundle: ModelBundle) -> Latency:
    """Median time of one answer from an encoded photograph, by the engine that would serve here.

    The photographs are those of the bundle's self-test, each three times after one pass to warm up.
    The number belongs to this machine and to what else it does.

    Raises:
        ConfigError: no engine of the bundle can answer here.
    """
    from roadwork.predictor import Predictor

    predictor = Predictor(bundle)
    pictures = [bundle.read(case.file) for case in bundle.golden().cases]
    predictor.predict(pictures)
    times = [answer.latency_ms for answer in predictor.predict(pictures * _PASSES)]
    return Latency(
        milliseconds=statistics.median(times), answers=len(times), engine=predictor.engine.name
    )
