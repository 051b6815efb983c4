"""Step: add a cheap first stage to the classifier."""

from __future__ import annotations

from typing import Annotated, Any

from zenml import step

import materializers  # noqa: F401
from roadwork.cascade.stages import Cascade
from roadwork.cascade.train import train_cascade
from roadwork.data.manifest import SelectSet, TrainSet
from roadwork.models.classifier import Classifier
from roadwork.settings import Settings
from steps.caching import library_cache
from steps.folders import checkpoints
from steps.tracking import live_tracker


@step(cache_policy=library_cache("roadwork.cascade.train"))
def cascade(
    classifier: Classifier, train: TrainSet, select: SelectSet, settings: Settings
) -> tuple[Annotated[Cascade, "cascade"], Annotated[dict[str, Any], "cascade_history"]]:
    """Train the heads; a stopped run goes on from its checkpoint."""
    with live_tracker() as tracker:
        done = train_cascade(
            classifier, train, select, settings, checkpoints(settings), tracker=tracker
        )
    return done.cascade, done.history
