"""A pipeline of one step whose cache policy names a package that the test writes."""

from __future__ import annotations

from typing import Any

from zenml import pipeline, step
from zenml.config.cache_policy import CachePolicy
from zenml.config.source import Source

# Named here and not through `library_cache`, which asks that the package exist at definition.
POLICY = CachePolicy(
    cache_func=Source.from_import_path("steps.caching.code_of__made_library_0_near")
)


@step(cache_policy=POLICY)
def answer() -> int:
    return 42


@pipeline
def made_pipeline() -> None:
    answer()


def statuses(run: Any) -> dict[str, str]:
    return {name: str(info.status) for name, info in run.steps.items()}
