"""What steps need in order to track: the run of the pipeline that they belong to, and its times."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from zenml import get_step_context

from registry.tracking import mark_failed, tracked
from roadwork.settings import parse_settings
from roadwork.training.curves import Tracker

__all__ = ["RUN", "end_as_failed", "live_tracker", "seconds_by_step"]

RUN = "run"
"""Where the extra configuration of a step holds the settings of the whole run.

ZenML's cache key does not see it, so that another tracker does not train again."""


@contextmanager
def live_tracker() -> Iterator[Tracker | None]:
    """A tracker for the running step; None where the pipeline gave no settings of the run."""
    context = get_step_context()
    tree = context.step_run.config.extra.get(RUN)
    if tree is None:
        yield None
        return
    run = context.pipeline_run
    with tracked(parse_settings(tree), str(run.id), run.name) as tracker:
        yield tracker


def end_as_failed(exception: BaseException) -> None:
    """Hook of the pipeline: MLflow's run does not stay open when a step fails."""
    run = get_step_context().pipeline_run
    trees = (info.config.extra.get(RUN) for info in run.steps.values())
    tree = next((found for found in trees if found), None)
    if tree is not None:
        mark_failed(parse_settings(tree), str(run.id))


def seconds_by_step() -> dict[str, float]:
    """Seconds of every step of the running pipeline that has ended and was not cached."""
    context = get_step_context()
    found = {}
    for name, info in context.pipeline_run.steps.items():
        if str(info.status) == "completed" and info.start_time and info.end_time:
            found[name] = (info.end_time - info.start_time).total_seconds()
    return found
