"""Steps of one pipeline run write to one MLflow run, and a tracker is no input of any step."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from registry import open_registry
from registry.runs import find_run
from roadwork.settings import parse_settings
from tests.registry.made import new_store
from tests.steps.made_pipeline import statuses

pytestmark = pytest.mark.slow


def test_one_run_of_mlflow_for_one_run_of_the_pipeline(zenml: Any, tmp_path: Path) -> None:
    from tests.steps.tracked_pipeline import tracked_pipeline

    runs = tmp_path / "runs"
    runs.mkdir()
    shutil.copy(new_store().database, runs / "mlflow.db")
    registry = open_registry(runs=runs)
    told = parse_settings({"runs": runs}).model_dump(mode="json")

    first = tracked_pipeline(told=told)
    assert statuses(first) == {"learn": "completed", "finish": "completed"}
    run = find_run(registry, str(first.id))
    assert run is not None
    history = registry.client.get_metric_history(run, "train/loss")
    assert [metric.step for metric in history] == [1, 2, 3]
    assert registry.client.get_run(run).info.run_name == first.name
    assert first.steps["finish"].outputs["output"][0].load() > 0, "seconds of the step before"

    other = parse_settings({"runs": runs, "track": {"project": "other"}}).model_dump(mode="json")
    second = tracked_pipeline(told=other)
    assert statuses(second) == {"learn": "cached", "finish": "completed"}
    assert find_run(registry, str(second.id)) is None
    assert second.steps["finish"].outputs["output"][0].load() == -1.0

    with pytest.raises(RuntimeError, match="failure in step"):
        tracked_pipeline(told=told, points=4, fails=True)
    found = registry.client.search_runs([registry.experiment_id()])
    assert [run.info.status for run in found] == ["FAILED", "RUNNING"]
    history = registry.client.get_metric_history(found[0].info.run_id, "train/loss")
    assert [metric.step for metric in history] == [1, 2, 3, 4]
