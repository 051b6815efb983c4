"""Step of an ablation: train one variant with one seed, and answer what variants are judged on."""

from __future__ import annotations

from typing import Annotated

from zenml import get_step_context, step
from zenml.client import Client
from zenml.utils.time_utils import utc_now

import materializers  # noqa: F401
from roadwork.ablation.cell import CellResult, run_cell
from roadwork.data.manifest import SelectSet, TrainSet
from roadwork.models.backbone import Backbone
from roadwork.settings import Settings
from steps.caching import library_cache
from steps.folders import checkpoints


@step(cache_policy=library_cache("roadwork.ablation.cell"))
def ablate_cell(
    backbone: Backbone, train: TrainSet, select: SelectSet, judged: SelectSet, settings: Settings
) -> Annotated[CellResult, "cell"]:
    """A cell that fails for a reason of its own is a result; the next run tries it again."""
    result = run_cell(backbone, train, select, judged, settings, checkpoints(settings))
    if result.record.failure is not None:
        # What failed once, such as on a full disk, must not be taken from the cache.
        Client().update_step_run(get_step_context().step_run.id, cache_expires_at=utc_now())
    return result
