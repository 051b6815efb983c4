"""Step: read every photograph of the source into the manifest."""

from __future__ import annotations

from typing import Annotated

from zenml import step

import materializers  # noqa: F401  (registers how results are stored)
from roadwork.data.fusion_report import FusionReport, fusion_report
from roadwork.data.ingest import ingest as read
from roadwork.data.manifest import Manifest
from roadwork.data.sources import open_sources
from roadwork.settings import Settings
from steps.caching import library_cache


@step(
    cache_policy=library_cache(
        "roadwork.data.ingest",
        "roadwork.data.fusion_report",
        "roadwork.data.sources",
        "roadwork.models.embedder",
    )
)
def ingest(
    settings: Settings, data_fingerprint: str
) -> tuple[Annotated[Manifest, "manifest"], Annotated[FusionReport, "fusion"]]:
    """Decode, hash and group the images; unusable ones go to quarantine.

    ``data_fingerprint`` changes when the data may have changed, and so the cache key does.
    """
    embed = None
    if settings.data.fusion.embedding_cosine is not None:
        from roadwork.models.embedder import embed_images as embed
    manifest = read(open_sources(settings), settings.data, embed)
    return manifest, fusion_report(manifest, settings.data.fusion)
