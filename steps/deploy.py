"""Step: build the champion's bundle into a Bento."""

from __future__ import annotations

import logging
from typing import Annotated

from zenml import step

import materializers  # noqa: F401
from registry import open_registry, resolve_bundle
from roadwork.errors import RegistryError
from roadwork.promotion import Verdict
from roadwork.settings import Settings

logger = logging.getLogger(__name__)


@step(enable_cache=False)
def deploy(verdict: Verdict, settings: Settings) -> Annotated[str, "bento"]:
    """Tag of the Bento; an empty text, with the reason logged, when nothing is to be deployed."""
    if not settings.deploy.build:
        logger.info("no Bento is built: deploy.build is false")
        return ""
    registry = open_registry(
        runs=settings.runs,
        model_name=settings.register_.model_name,
        experiment=settings.register_.experiment,
    )
    try:
        champion = resolve_bundle("champion", registry)
    except RegistryError as error:
        logger.warning("no Bento is built: %s", error)
        return ""
    from serving.build import build_bento

    tag = build_bento(champion)
    logger.info("built %s; serve it with: bentoml serve %s", tag, tag)
    return tag
