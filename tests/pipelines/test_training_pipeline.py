"""The literal command, end to end on the local stack: cached, killed, resumed, reproduced."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.pipelines.place import ROOT, Place

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("first"))
    output = place.run()
    assert output.count("has finished in") == 12, output[-4000:]
    return place


def test_every_part_has_its_place(first: Place) -> None:
    figures = json.loads(first.metrics())
    assert figures["synthetic"] is True
    assert {row["key"] for row in figures["rows"]} == {"model", "uncalibrated", "baseline"}
    (bundle,) = (first.runs / "bundles").iterdir()
    from roadwork.bundle import ModelBundle

    opened = ModelBundle.open(bundle)
    assert set(opened.exposure.uses) == {
        "pretrain",
        "train",
        "select",
        "calibrate",
        "conformalise",
    }
    assert opened.parity.accepted == ("onnxruntime", "openvino")
    assert (first.runs / "mlflow.db").is_file()
    assert not list((first.runs / "checkpoints").iterdir()), "a finished run leaves no checkpoint"


def test_no_step_output_is_a_serialised_python_object(first: Place) -> None:
    script = """
import json
from zenml.client import Client
(run,) = Client().list_pipeline_runs().items
outputs = {
    f"{step}.{name}": artifact.materializer.import_path
    for step, details in run.steps.items()
    for name, artifacts in details.outputs.items()
    for artifact in artifacts
}
print("OUTPUTS " + json.dumps(outputs))
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**first.environment, "ZENML_LOGGING_VERBOSITY": "ERROR"},
        capture_output=True,
        text=True,
        check=True,
        timeout=180,
    )
    line = next(line for line in done.stdout.splitlines() if line.startswith("OUTPUTS "))
    outputs = json.loads(line.removeprefix("OUTPUTS "))
    assert len(outputs) == 26
    allowed = ("materializers.", "zenml.materializers.built_in_materializer.")
    wrong = {name: path for name, path in outputs.items() if not path.startswith(allowed)}
    assert not wrong
    assert not [path for path in outputs.values() if "pickle" in path.lower()]
    stored = (first.folder / "zenml" / "local_stores").rglob("*")
    assert not [path for path in stored if path.suffix in {".pkl", ".pickle", ".pt"}]


def test_the_second_run_is_cached_but_never_promotes_from_the_cache(first: Place) -> None:
    before = first.metrics()
    output = first.run()
    # ingest … register come from the cache; promote and deploy are decided anew.
    assert output.lower().count("using cached version of step") == 9, output[-4000:]
    assert "Step promote has finished" in output
    assert "Step deploy has finished" in output
    assert first.metrics() == before


def test_killed_in_finetune_then_resumed_equals_an_uninterrupted_run(
    first: Place, tmp_path: Path
) -> None:
    place = Place(tmp_path / "second")
    process = place.start()
    deadline = time.monotonic() + 500
    checkpoints = place.runs / "checkpoints"
    while not list(checkpoints.glob("finetune-*/last.ckpt")):
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)

    output = place.run()
    assert "going on from the checkpoint of step" in output
    assert output.lower().count("using cached version of step") == 3, output[-4000:]
    assert place.metrics() == first.metrics()


def test_wrong_settings_name_the_key(first: Place) -> None:
    process = first.start(finetune={"epoch": 3})
    output, _ = process.communicate(timeout=180)
    assert process.returncode != 0
    assert "finetune.epoch: there is no such key" in output


def test_a_bundle_refuses_its_own_training_images_in_a_new_process(
    first: Place, tmp_path: Path
) -> None:
    (bundle,) = (first.runs / "bundles").iterdir()
    (scenes,) = (first.runs / "data").glob("synthetic-*")
    command = [
        str(Path(sys.executable).with_name("roadwork")),
        "report",
        "--bundle",
        str(bundle),
        "--data",
        str(scenes / "scenes.csv"),
        "--out",
        str(tmp_path / "report.html"),
    ]
    done = subprocess.run(
        command, cwd=tmp_path, env=first.environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 1
    message = " ".join((done.stdout + done.stderr).split())
    assert "already exposed to this data" in message
    assert "groups" in message
    assert not (tmp_path / "report.html").exists()
