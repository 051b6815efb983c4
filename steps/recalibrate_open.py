"""Step of a recalibration: the bundle whose policy is fitted again."""

from __future__ import annotations

from typing import Annotated

from zenml import step

import materializers  # noqa: F401
from registry import resolve_bundle
from registry.tracking import registry_of
from roadwork.bundle import ModelBundle
from roadwork.errors import RegistryError
from roadwork.settings import Settings
from steps.caching import library_cache


@step(cache_policy=library_cache("roadwork.bundle"))
def recalibrate_open(
    reference: str, bundle_hash: str, settings: Settings
) -> Annotated[ModelBundle, "champion"]:
    """The bundle that the pipeline was assembled for; an alias that has moved since is refused."""
    found = ModelBundle.open(resolve_bundle(reference, registry_of(settings)))
    if found.hash != bundle_hash:
        raise RegistryError(
            f"{reference} was bundle {bundle_hash[:12]} when this run began, and is {found.title} "
            "now: start the recalibration again"
        )
    return found
