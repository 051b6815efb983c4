"""Step: adapt the backbone to the training images without labels (ExPLoRA)."""

from __future__ import annotations

from typing import Annotated, Any

from zenml import step

import materializers  # noqa: F401
from roadwork.data.manifest import TrainSet
from roadwork.machine import describe_machine
from roadwork.models.backbone import Backbone, load_backbone
from roadwork.settings import Settings
from roadwork.training.pretrain import pretrain as adapt
from steps.caching import library_cache
from steps.folders import checkpoints
from steps.tracking import live_tracker


@step(cache_policy=library_cache("roadwork.training.pretrain", "roadwork.models.backbone"))
def pretrain(
    train: TrainSet, settings: Settings
) -> tuple[Annotated[Backbone, "backbone"], Annotated[dict[str, Any], "pretrain_history"]]:
    """Load the starting weights and adapt them; a stopped run goes on from its checkpoint."""
    backbone = load_backbone(settings.backbone, settings.seed)
    with live_tracker() as tracker:
        done = adapt(backbone, train, settings, checkpoints(settings), tracker=tracker)
    return done.backbone, {**done.history, "environment": describe_machine()}
