"""An ablation in MLflow: one parent, one run a variant, names that stay."""

from __future__ import annotations

import pytest

from registry import Registry
from registry.ablations import GRID_HASH, register_ablation
from roadwork.settings import Settings
from tests.ablation import made


def test_one_run_for_the_whole_and_one_for_each_variant(registry: Registry) -> None:
    report = made.report(made.by_strength({0: 0.4, 1: 0.5, 2: 3.0, 3: 3.2}, failing=(1,)))
    settings = Settings(name="made")
    identity = register_ablation(
        report, settings, run_name="the run", data_hash="d" * 64, registry=registry
    )
    client = registry.client
    parent = client.get_run(identity)
    assert parent.info.status == "FINISHED" and parent.info.run_name == "the run"
    assert parent.data.tags[GRID_HASH] == report.grid_hash
    assert parent.data.tags["roadwork.data_hash"] == "d" * 64
    best = report.variants[3].metrics
    assert parent.data.metrics == {
        "ablation/variants": 4,
        "ablation/cells": 8,
        "ablation/failed": 1,
        "ablation/best.nll": pytest.approx(best["nll"].mean),
        "ablation/best.auroc": pytest.approx(best["auroc"].mean),
        "ablation/best.mcc": pytest.approx(best["mcc"].mean),
    }
    assert parent.data.params["name"] == "made"
    names = {file.path for file in client.list_artifacts(identity)}
    assert names == {f"ablation.{end}" for end in ("html", "json", "md", "parquet", "winner.yaml")}
    children = client.search_runs(
        [registry.experiment_id()], filter_string=f"tags.`mlflow.parentRunId` = '{identity}'"
    )
    by_name = {child.info.run_name: child for child in children}
    assert set(by_name) == {row.name for row in report.variants}
    child = by_name["adapter dora, loss focal"]
    assert child.data.params == {
        "axis.finetune.adapter": "dora",
        "axis.finetune.loss.name": "focal",
        "finetune.adapter": "dora",
        "finetune.loss.name": "focal",
        "failure": "none",
    }
    found = report.variants[3].differences["nll"]
    assert child.data.metrics["difference/nll"] == pytest.approx(found.value)
    assert child.data.metrics["difference/adjusted_p"] == pytest.approx(found.adjusted)
    assert child.data.metrics["cost/trained_weights"] == 1000
    failed = by_name["adapter lora, loss focal"]
    assert failed.data.params["failure"] == "the loss is nan"
    assert set(failed.data.metrics) == {"cost/seconds", "cost/trained_weights", "cost/views"}
