"""Step: the training set as shards, on disk or in an object store."""

from __future__ import annotations

from typing import Annotated

from zenml import step

import materializers  # noqa: F401
from roadwork.data.manifest import TrainSet
from roadwork.data.shards import write_shards
from roadwork.data.storage import join
from roadwork.settings import Settings
from steps.caching import library_cache


@step(cache_policy=library_cache("roadwork.data.shards"))
def shard(train: TrainSet, settings: Settings) -> Annotated[TrainSet, "train_shards"]:
    """The same set, its addresses in shards of a folder named after its content."""
    wanted = settings.data.shards
    assert wanted.to is not None
    folder = join(wanted.to, train.content_hash[:16])
    return write_shards(train, folder, max_bytes=wanted.megabytes << 20, seed=settings.seed)
