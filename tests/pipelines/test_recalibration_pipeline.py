"""The literal command for a recalibration: after a small training, on data that partly is old."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.pipelines.place import SETTINGS, Place

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

# The first 36 drives are those of the training.
SCENES = {"kind": "synthetic", "drives": 90, "min_frames": 4, "max_frames": 5}
TREE: dict[str, Any] = {
    "name": "again",
    "data": {"sources": [SCENES]},
    "calibrate": {"method": "platt"},
    "evaluate": SETTINGS["evaluate"],
    "promote": {"better": "nll", "not_worse": {"mcc": 0.5}},
    "deploy": {"build": False},
}


class RecalibrationPlace(Place):
    def command(self, **changes: object) -> list[str]:
        command = super().command()
        command[command.index("training_pipeline")] = "recalibration_pipeline"
        parameters = {"settings": {**TREE, "runs": str(self.runs)}, **changes}
        Path(command[-1]).write_text(yaml.safe_dump({"parameters": parameters}))
        return command


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> RecalibrationPlace:
    from registry import open_registry

    folder = tmp_path_factory.mktemp("recalibration")
    Place(folder).run()
    registry = open_registry(runs=folder / "runs")
    # So small a model may fail the gate: what follows needs a champion, not a good one.
    registry.client.set_registered_model_alias(registry.model_name, "champion", "1")
    return RecalibrationPlace(folder)


def test_the_policy_is_fitted_anew_around_the_same_network(place: RecalibrationPlace) -> None:
    from registry import collect_evidence, open_registry, resolve_bundle
    from roadwork.bundle import ModelBundle

    registry = open_registry(runs=place.runs)
    old = ModelBundle.open(resolve_bundle("1", registry))
    output = place.run()
    # open, ingest, split, refit, certify, export, register, promote, deploy, and the run itself
    assert output.count("has finished in") == 9 + 1, output[-4000:]
    assert "finetune" not in output
    new = ModelBundle.open(resolve_bundle("2", registry))
    for name in ("model.onnx", "model.safetensors", "config.json", "golden.json"):
        assert new.digests[name] == old.digests[name]
    assert type(new.calibrator).__name__ == "PlattScaling"
    assert new.parity.accepted == ("onnxruntime", "openvino")
    # The network's exposure is kept; that of the policy is of new data alone.
    for use in ("pretrain", "train", "select"):
        kept, had = new.exposure.uses[use], old.exposure.uses[use]
        assert kept.samples.tolist() == had.samples.tolist()
    for use in ("calibrate", "conformalise"):
        fresh = set(new.exposure.uses[use].samples.tolist())
        for ids in old.exposure.uses.values():
            assert not fresh & set(ids.samples.tolist())
    with (place.runs / "reports" / "again-seen.csv").open() as file:
        listed = list(csv.DictReader(file))
    assert len(listed) > 50 and {row["reason"] for row in listed} == {"seen_by_model"}
    # The gate has compared both on the new test set.
    evidence = collect_evidence(registry, "2")
    rival = evidence.champion
    assert rival is not None and rival.reason in (None, "same bundle")
    if rival.version == "1":
        assert [one.figure for one in rival.comparisons] == ["nll", "mcc"]
    page = (place.runs / "reports" / "again-2.html").read_text()
    assert "The champion, unchanged" in page


def test_seen_data_stops_the_run_where_that_is_asked_for(place: RecalibrationPlace) -> None:
    process = place.start(recalibrate={"champion": "1", "seen": "raise"})
    output, _ = process.communicate(timeout=300)
    assert process.returncode != 0
    assert "were seen by the bundle" in " ".join(output.split())


def test_settings_of_training_are_refused_before_anything_runs(place: RecalibrationPlace) -> None:
    process = place.start(settings={**TREE, "runs": str(place.runs), "finetune": {"epochs": 1}})
    output, _ = process.communicate(timeout=180)
    assert process.returncode != 0
    assert "settings.finetune" in output and "has started" not in output
