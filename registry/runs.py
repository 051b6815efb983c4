"""MLflow runs: one for each run of the pipeline, found again by a tag, written to in batches."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from registry.connection import Registry
from registry.tags import PIPELINE_RUN
from roadwork.training.curves import Point

__all__ = ["MlflowTracker", "fail_run", "find_run", "flatten", "log_figures", "one_run", "open_run"]

_PARAMS = 100  # MLflow takes at most 100 parameters in one call
_METRICS = 1000  # and at most 1000 metrics
_LONGEST = 500  # characters of a parameter that every store of MLflow accepts


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Leaves of a tree by dotted key: ``{"a": {"b": 1}}`` gives ``{"a.b": "1"}``."""
    flat: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, list) and value and isinstance(value[0], Mapping):
            value = {str(number): item for number, item in enumerate(value)}
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value)
            flat[f"{prefix}{key}"] = text[:_LONGEST]
    return flat


def find_run(registry: Registry, pipeline_run: str) -> str | None:
    """Identifier of the run that belongs to a run of the pipeline, or None."""
    found = registry.client.search_runs(
        [registry.experiment_id()],
        filter_string=f"tags.`{PIPELINE_RUN}` = '{pipeline_run}'",
        order_by=["attributes.start_time ASC"],
        max_results=1,
    )
    return found[0].info.run_id if found else None


def open_run(
    registry: Registry, name: str, tags: Mapping[str, str], pipeline_run: str | None
) -> str:
    """The run that belongs to a run of the pipeline, created if need be; gives its identifier.

    Args:
        registry: which MLflow, which experiment.
        name: of a new run.
        tags: of a new run, and set on one that is there.
        pipeline_run: identifier of the run of the pipeline; without one, a new run is created.
    """
    client = registry.client
    found = None if pipeline_run is None else find_run(registry, pipeline_run)
    if found is None:
        marked = {} if pipeline_run is None else {PIPELINE_RUN: pipeline_run}
        created = client.create_run(
            registry.experiment_id(), run_name=name, tags={**tags, **marked}
        )
        return created.info.run_id
    for key, value in tags.items():
        client.set_tag(found, key, value)
    return found


@contextmanager
def one_run(
    registry: Registry, name: str, tags: Mapping[str, str], pipeline_run: str | None
) -> Iterator[str]:
    """The same run, which ends as FINISHED, or as FAILED when the block raises."""
    client = registry.client
    run = open_run(registry, name, tags, pipeline_run)
    try:
        yield run
    except BaseException:
        client.set_terminated(run, status="FAILED")
        raise
    client.set_terminated(run)


def fail_run(registry: Registry, pipeline_run: str) -> None:
    """Mark the run that belongs to a run of the pipeline as failed, if there is one."""
    found = find_run(registry, pipeline_run)
    if found is not None:
        registry.client.set_terminated(found, status="FAILED")


def log_figures(
    registry: Registry, run: str, params: Mapping[str, str], metrics: Mapping[str, float]
) -> None:
    """Log parameters, and metrics that have no steps."""
    from mlflow.entities import Metric, Param

    now = int(time.time() * 1000)
    listed = [Param(key, value) for key, value in sorted(params.items())]
    for start in range(0, len(listed), _PARAMS):
        registry.client.log_batch(run, params=listed[start : start + _PARAMS])
    measured = [Metric(key, value, now, 0) for key, value in sorted(metrics.items())]
    for start in range(0, len(measured), _METRICS):
        registry.client.log_batch(run, metrics=measured[start : start + _METRICS])


class MlflowTracker:
    """Tells MLflow the points of curves; those that the run has already are not told twice."""

    def __init__(self, registry: Registry, run: str) -> None:
        """``run`` is the identifier of an MLflow run."""
        self._registry = registry
        self._run = run
        self._known: dict[str, set[int]] = {}

    def log(self, points: Sequence[Point]) -> None:
        """Log what is new; the newest point is stamped with the present time."""
        from mlflow.entities import Metric

        now = time.time()
        fresh = []
        for point in points:
            known = self._known.get(point.name)
            if known is None:
                history = self._registry.client.get_metric_history(self._run, point.name)
                known = self._known[point.name] = {metric.step for metric in history}
            if point.step not in known:
                known.add(point.step)
                stamp = int(1000 * (now - (points[-1].seconds - point.seconds)))
                fresh.append(Metric(point.name, point.value, stamp, point.step))
        for start in range(0, len(fresh), _METRICS):
            self._registry.client.log_batch(self._run, metrics=fresh[start : start + _METRICS])

    def close(self) -> None:
        """Nothing is kept back; the run stays open for what comes after training."""
