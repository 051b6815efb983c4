"""Two steps that hand a manifest on."""

from __future__ import annotations

from typing import Annotated, Any

from zenml import pipeline, step

import materializers  # noqa: F401 - registers them
from roadwork.data.manifest import Manifest, TrainSet
from tests.data import made


@step
def ingest(note: str) -> Annotated[Manifest, "learn_manifest"]:
    return made.manifest([made.row(number) for number in range(6)])


@step
def learn(manifest: Manifest) -> Annotated[TrainSet, "learn_train"]:
    return TrainSet(manifest.table)


@pipeline
def made_pipeline(note: str) -> None:
    learn(ingest(note))


def statuses(run: Any) -> dict[str, str]:
    return {name: str(info.status) for name, info in run.steps.items()}
