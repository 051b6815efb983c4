"""Step: read every photograph of the source into the manifest."""

from __future__ import annotations

from typing import Annotated

from zenml import step

import materializers  # noqa: F401  (registers how results are stored)
from roadwork.data.ingest import ingest as read
from roadwork.data.manifest import Manifest
from roadwork.data.sources import open_source
from roadwork.settings import Settings
from steps.caching import library_cache


@step(cache_policy=library_cache("roadwork.data.ingest", "roadwork.data.sources"))
def ingest(settings: Settings, data_fingerprint: str) -> Annotated[Manifest, "manifest"]:
    """Decode, hash and group the images; unusable ones go to quarantine.

    ``data_fingerprint`` changes when the data may have changed, and so the cache key does.
    """
    return read(open_source(settings).rows(), settings.data)
