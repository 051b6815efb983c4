"""Registration and resolution against a real MLflow store."""

from __future__ import annotations

import base64
import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from registry import (
    Registry,
    existing_registry,
    find_version,
    open_registry,
    pull,
    register_bundle,
    resolve_bundle,
)
from registry.evidence import load_report, load_scores
from registry.runs import flatten
from roadwork.bundle import ModelBundle
from roadwork.environment import Environment
from roadwork.errors import BundleError, RegistryError
from roadwork.settings import Settings
from tests.bundle.make_bundle import jpeg
from tests.evaluation.report_case import make_report, make_settings
from tests.registry.made import Made, new_store, sealed_bundle

Make = Callable[..., Made]


def test_flatten_gives_dotted_leaves() -> None:
    tree = {"a": {"b": 1, "c": {"d": None}}, "e": "text", "f": ["x", 2], "g": [{"h": 3}], "i": {}}
    flat = {"a.b": "1", "a.c.d": "null", "e": "text", "f": '["x", 2]', "g.0.h": "3", "i": "{}"}
    assert flatten(tree) == flat


def test_flattened_settings_name_every_leaf_once() -> None:
    flat = flatten(Settings().model_dump(mode="json"))
    assert flat["register.model_name"] == "roadwork"
    assert flat["data.sources.0.kind"] == "synthetic"
    assert len(flat) >= 50


def test_a_version_carries_run_figures_files_tags_and_alias(registry: Registry, make: Make) -> None:
    made = make("first")
    client = registry.client
    version = find_version(registry, "candidate")
    assert str(version.version) == made.version == "1"
    assert version.tags["roadwork.bundle_hash"] == made.bundle.hash
    assert version.tags["roadwork.data_hash"] == "d" * 64
    assert version.tags["roadwork.git_commit"]
    run = client.get_run(version.run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "first"
    assert run.data.params["register.model_name"] == "roadwork"
    assert run.data.params["host.cores"] == "2"
    auroc = made.report.metric("auroc")
    assert auroc is not None
    assert run.data.metrics["val_test/auroc"] == auroc.value
    assert run.data.metrics["val_test/auroc.low"] == auroc.low
    assert "val_test.baseline/auroc" in run.data.metrics
    coverage = made.report.conformal.classes["roadwork"]
    assert run.data.metrics["val_test/coverage.roadwork"] == coverage.value
    assert run.data.metrics["seconds/total"] == 12.5
    files = {file.path for file in client.list_artifacts(version.run_id)}
    assert {"report.html", "report.json", "metrics.json", "settings.json"} <= files
    assert load_report(registry, version) == made.report
    scores = load_scores(registry, version)
    assert np.array_equal(scores.sample_ids, made.scores.sample_ids)
    assert np.array_equal(scores.probabilities, made.scores.probabilities)


def test_everything_lies_in_the_runs_folder_and_no_object_is_serialised(
    registry: Registry, make: Make, tmp_path: Path
) -> None:
    make("first")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "runs"]
    names = [path.name for path in (registry.runs / "mlflow-artifacts").rglob("*")]
    assert "pyfunc_model.py" in names
    assert "input_example.json" in names
    serialised = (".pkl", ".pickle", ".joblib", ".pt", ".pth", ".bin")
    assert {n for n in names if n.endswith(serialised)} == {"exposure.bin"}
    assert "__pycache__" not in names


def test_the_pyfunc_model_answers_bytes_and_base64_like_the_predictor(
    registry: Registry, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow
    import pandas as pd

    from registry.connection import as_default
    from roadwork.predictor import Predictor

    made = make("first")
    monkeypatch.setenv("ROADWORK_THREADS", "1")
    pictures = [jpeg(220, 40), jpeg(40, 220)]
    expected = Predictor(made.bundle).predict(pictures)
    with as_default(registry):
        model = mlflow.pyfunc.load_model("models:/roadwork@candidate")
    answers = model.predict(pd.DataFrame({"image": pictures}))
    assert answers["label"].tolist() == [p.label for p in expected] == ["roadwork", "none"]
    assert answers["probability"].tolist() == [p.probability for p in expected]
    text = [base64.b64encode(picture).decode() for picture in pictures]
    raw = model.unwrap_python_model().predict(None, pd.DataFrame({"image": text}))
    assert raw["probability"].tolist() == [p.probability for p in expected]
    inputs = model.metadata.signature.inputs.to_dict()
    assert inputs == [{"type": "binary", "name": "image", "required": True}]


def test_the_default_store_of_the_process_is_left_alone(registry: Registry, make: Make) -> None:
    import mlflow

    before = mlflow.is_tracking_uri_set(), os.environ.get("MLFLOW_TRACKING_URI")
    make("first")
    assert (mlflow.is_tracking_uri_set(), os.environ.get("MLFLOW_TRACKING_URI")) == before
    mlflow.set_tracking_uri("sqlite:///elsewhere.db")
    try:
        make("second")
        assert mlflow.get_tracking_uri() == "sqlite:///elsewhere.db"
    finally:
        mlflow.set_tracking_uri(None)
    assert not Path("elsewhere.db").exists()


def test_a_new_store_leaves_our_logging_alone() -> None:
    store = new_store()
    assert store.handlers_before == store.handlers_after
    assert store.level_before == store.level_after
    assert not store.disabled
    assert logging.getLogger("mlflow").level == logging.WARNING


def test_a_failed_registration_moves_no_alias_and_marks_the_run(
    registry: Registry, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make("first")
    report = make_report()
    bundle = sealed_bundle(tmp_path / "second", report)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(registry.client, "log_model_artifacts", refuse)
    with pytest.raises(RegistryError, match=r"cannot register the bundle .*No space left"):
        register_bundle(
            bundle.path, report, make_settings(), run_name="x", data_hash="d", registry=registry
        )
    assert str(find_version(registry, "candidate").version) == "1"
    runs = registry.client.search_runs([registry.experiment_id()])
    assert sorted(run.info.status for run in runs) == ["FAILED", "FINISHED"]


def test_an_alias_moved_in_mlflow_is_honoured(registry: Registry, make: Make) -> None:
    first, second = make("first"), make("second")
    assert first.bundle.hash != second.bundle.hash
    assert ModelBundle.open(resolve_bundle("candidate", registry)).hash == second.bundle.hash
    registry.client.set_registered_model_alias("roadwork", "champion", first.version)
    assert ModelBundle.open(resolve_bundle("champion", registry)).hash == first.bundle.hash
    registry.client.set_registered_model_alias("roadwork", "champion", second.version)
    assert ModelBundle.open(resolve_bundle("champion", registry)).hash == second.bundle.hash
    assert ModelBundle.open(resolve_bundle("1", registry)).hash == first.bundle.hash
    named = resolve_bundle("models:/roadwork@champion", registry)
    assert ModelBundle.open(named).hash == second.bundle.hash


def test_folders_are_verified_and_never_mistaken_for_aliases(
    registry: Registry, make: Make, tmp_path: Path
) -> None:
    made = make("champion")  # a folder of that name lies in the working directory
    assert resolve_bundle("./champion", registry) == Path("champion")
    with pytest.raises(RegistryError, match="no champion yet"):
        resolve_bundle("champion", registry)
    (made.bundle.path / "README.md").write_text("changed")
    with pytest.raises(BundleError, match=r"README\.md"):
        resolve_bundle("./champion", registry)


def test_unknown_references_say_what_there_is(registry: Registry, make: Make) -> None:
    with pytest.raises(RegistryError, match="it has: none"):
        find_version(registry, "9")
    make("first")
    for reference in ("9", "nightly"):
        with pytest.raises(RegistryError, match=f"{reference}.*it has: candidate, 1"):
            find_version(registry, reference)


def test_reading_does_not_create_a_store(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="no model registry yet"):
        existing_registry(Environment(), tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_pull_copies_verifies_and_never_overwrites(
    registry: Registry, make: Make, tmp_path: Path
) -> None:
    made = make("first")
    pulled = pull("candidate", tmp_path / "deep" / "copy", registry)
    assert pulled.hash == made.bundle.hash
    assert ModelBundle.open(tmp_path / "deep" / "copy").hash == made.bundle.hash
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["copy"]
    with pytest.raises(BundleError, match="exists already"):
        pull("candidate", tmp_path / "deep" / "copy", registry)


def test_exchanged_artifacts_are_refused(registry: Registry, make: Make, tmp_path: Path) -> None:
    make("first")
    other = sealed_bundle(tmp_path / "other", make_report(strength=1.0))
    stored = resolve_bundle("candidate", registry)
    (stored / "README.md").write_text("changed")
    with pytest.raises(BundleError, match=r"README\.md"):
        resolve_bundle("candidate", registry)
    for path in other.path.rglob("*"):
        if path.is_file():
            (stored / path.relative_to(other.path)).write_bytes(path.read_bytes())
    with pytest.raises(BundleError, match="they were exchanged"):
        resolve_bundle("candidate", registry)


def test_a_version_that_others_registered_is_refused(registry: Registry, tmp_path: Path) -> None:
    registry.client.create_registered_model("roadwork")
    registry.client.create_model_version("roadwork", str(tmp_path))
    with pytest.raises(RegistryError, match="was not registered by roadwork"):
        resolve_bundle("1", registry)


def test_remote_artifacts_are_downloaded_once(
    registry: Registry, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow.artifacts

    import registry.resolution as resolution

    made = make("first")
    monkeypatch.setattr(resolution, "_local_path", lambda uri: None)
    calls: list[str] = []
    fetch = mlflow.artifacts.download_artifacts

    def counted(**arguments: str) -> str:
        calls.append(arguments["artifact_uri"])
        return fetch(**arguments)

    monkeypatch.setattr(mlflow.artifacts, "download_artifacts", counted)
    first = resolve_bundle("candidate", registry)
    assert first == registry.runs / "bundles" / made.bundle.hash
    assert resolve_bundle("candidate", registry) == first
    assert len(calls) == 1
    assert [path.name for path in first.parent.iterdir()] == [made.bundle.hash]


def test_the_environment_names_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROADWORK_RUNS", str(tmp_path / "a"))
    registry = open_registry()
    assert registry.uri == f"sqlite:///{tmp_path / 'a' / 'mlflow.db'}"
    assert registry.artifacts == str(tmp_path / "a" / "mlflow-artifacts")
    monkeypatch.setenv("ROADWORK_MLFLOW_URI", "http://mlflow.example:5000")
    registry = open_registry()
    assert (registry.uri, registry.artifacts) == ("http://mlflow.example:5000", None)
    assert not registry.is_local
    monkeypatch.setenv("ROADWORK_MLFLOW_ARTIFACTS", "s3://bucket/roadwork")
    assert open_registry().artifacts == "s3://bucket/roadwork"
