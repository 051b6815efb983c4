"""A pipeline that trains, in so far as it tells a tracker of points, and may fail afterwards."""

from __future__ import annotations

from typing import Any

from zenml import pipeline, step

from roadwork.training.curves import Point
from steps.tracking import RUN, end_as_failed, live_tracker, seconds_by_step


@step
def learn(points: int) -> int:
    with live_tracker() as tracker:
        assert tracker is not None
        for number in range(1, points + 1):
            tracker.log([Point("train/loss", number, 1, 1 / number, float(number))])
    return points


@step(enable_cache=False)
def finish(points: int, fails: bool) -> float:
    if fails:
        raise ValueError("as asked for")
    return seconds_by_step().get("learn", -1.0)


@pipeline(on_failure=end_as_failed)
def tracked_pipeline(told: dict[str, Any], points: int = 3, fails: bool = False) -> None:
    finish(learn.with_options(extra={RUN: told})(points), fails)
