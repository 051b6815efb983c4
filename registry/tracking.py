"""Tracking: what a run of the pipeline tells MLflow, and Weights & Biases, while it trains."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from registry.connection import Registry, open_registry, registry_errors
from registry.provenance import code_tags
from registry.runs import MlflowTracker, fail_run, flatten, log_figures, open_run
from registry.weights_and_biases import WandbRun, wants_wandb
from roadwork.errors import RegistryError
from roadwork.settings import Settings
from roadwork.training.curves import Point, Tracker
from roadwork.training.live import LiveTracker

__all__ = ["mark_failed", "open_wandb", "registry_of", "tracked"]

logger = logging.getLogger(__name__)


def registry_of(settings: Settings) -> Registry:
    """The registry that the environment and the settings name."""
    return open_registry(
        runs=settings.runs,
        model_name=settings.register_.model_name,
        experiment=settings.register_.experiment,
    )


def open_wandb(settings: Settings, pipeline_run: str, name: str) -> WandbRun:
    """The copy in Weights & Biases; ``track.wandb`` must not be off.

    Raises:
        ConfigError: the package is missing.
    """
    assert settings.runs is not None, "resolve the settings first"
    config = flatten(settings.model_dump(mode="json"))
    return WandbRun(settings.track, settings.runs / "wandb", pipeline_run, name, config)


@contextmanager
def tracked(settings: Settings, pipeline_run: str, name: str) -> Iterator[Tracker]:
    """A tracker for a step that trains; neither a slow server nor a dead one holds the step up.

    MLflow's run is created by the first point that comes, with its settings and the state of the
    code, and is left open: registration completes it.

    Args:
        settings: resolved settings of the whole run.
        pipeline_run: identifier of the run of the pipeline.
        name: of the run.
    """
    remedy = "training goes on, and registration tells the rest"
    live = [LiveTracker(lambda: _open_mlflow(settings, pipeline_run, name), remedy=remedy)]
    if wants_wandb(settings.track):
        live.append(LiveTracker(lambda: open_wandb(settings, pipeline_run, name), remedy=remedy))
    try:
        yield _Several(live)
    finally:
        for tracker in live:
            tracker.close()


def _open_mlflow(settings: Settings, pipeline_run: str, name: str) -> MlflowTracker:
    registry = registry_of(settings)
    with registry_errors(f"cannot open a run in MLflow at {registry.uri}"):
        run = open_run(registry, name, code_tags(), pipeline_run)
        log_figures(registry, run, flatten(settings.model_dump(mode="json")), {})
    return MlflowTracker(registry, run)


class _Several:
    """Tells each of several trackers."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self._trackers = trackers

    def log(self, points: Sequence[Point]) -> None:
        for tracker in self._trackers:
            tracker.log(points)


def mark_failed(settings: Settings, pipeline_run: str) -> None:
    """After a failure: MLflow's run of this run of the pipeline, if there is one, ends as FAILED.

    The failure itself is what people must see, so that an unreachable MLflow is a warning.
    """
    registry = registry_of(settings)
    # The process is about to end; it should not spend minutes on asking again.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    try:
        with registry_errors(f"cannot mark the run as failed in MLflow at {registry.uri}"):
            fail_run(registry, pipeline_run)
    except RegistryError as error:
        logger.warning("%s", error)
