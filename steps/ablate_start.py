"""Step of an ablation: the backbone that one or several cells start from."""

from __future__ import annotations

from typing import Annotated

from zenml import step

import materializers  # noqa: F401
from roadwork.data.manifest import TrainSet
from roadwork.models.backbone import Backbone, load_backbone
from roadwork.settings import Settings
from roadwork.training.pretrain import pretrain
from steps.caching import library_cache
from steps.folders import checkpoints


@step(cache_policy=library_cache("roadwork.training.pretrain", "roadwork.models.backbone"))
def ablate_start(train: TrainSet, settings: Settings) -> Annotated[Backbone, "backbone"]:
    """Load the starting weights, and adapt them where the settings ask for it."""
    backbone = load_backbone(settings.backbone, settings.seed)
    return pretrain(backbone, train, settings, checkpoints(settings)).backbone
