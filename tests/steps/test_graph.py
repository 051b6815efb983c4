"""The graph of the training pipeline follows the settings; nothing of it is run here."""

from __future__ import annotations

from typing import Any


def steps_of(settings: dict[str, Any]) -> dict[str, set[str]]:
    """Steps of the assembled pipeline, each with the names of the artifacts that it takes."""
    from pipelines.training import training_pipeline

    training_pipeline.prepare(settings=settings)
    return {
        name: set(invocation.input_artifacts)
        for name, invocation in training_pipeline.invocations.items()
    }


def test_a_defer_threshold_is_fitted_only_where_it_is_asked_for(zenml: Any) -> None:
    plain = steps_of({})
    assert "defer" not in plain
    assert "calibrator_comparison" in plain["evaluate"]
    assert "defer_threshold" not in plain["evaluate"]
    asked = steps_of({"defer": {"enabled": True, "max_error": 0.1}})
    assert {"calibration", "conformal_set"} <= asked["defer"]
    assert "defer_threshold" in asked["evaluate"]
    assert {key: value for key, value in asked.items() if key not in ("defer", "evaluate")} == {
        key: value for key, value in plain.items() if key != "evaluate"
    }
