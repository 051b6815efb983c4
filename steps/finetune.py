"""Step: train the classifier on TRAIN, choose its pass on VAL_SELECT."""

from __future__ import annotations

from typing import Annotated, Any

from zenml import step

import materializers  # noqa: F401
from roadwork.data.manifest import SelectSet, TrainSet
from roadwork.machine import describe_machine
from roadwork.models.backbone import Backbone
from roadwork.models.classifier import Classifier
from roadwork.settings import Settings
from roadwork.training.finetune import finetune as train_classifier
from steps.caching import library_cache
from steps.folders import checkpoints
from steps.tracking import live_tracker


@step(cache_policy=library_cache("roadwork.training.finetune"))
def finetune(
    backbone: Backbone, train: TrainSet, select: SelectSet, settings: Settings
) -> tuple[
    Annotated[Classifier, "classifier"],
    Annotated[Classifier, "baseline"],
    Annotated[dict[str, Any], "history"],
]:
    """Fit the probe, then adapters from it; a stopped run goes on from its checkpoint."""
    with live_tracker() as tracker:
        done = train_classifier(
            backbone, train, select, settings, checkpoints(settings), tracker=tracker
        )
    return done.classifier, done.baseline, {**done.history, "environment": describe_machine()}
