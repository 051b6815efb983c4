"""Live tracking and registration write one MLflow run, and a like copy in Weights & Biases."""

from __future__ import annotations

import json
import logging
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from registry import Registry, find_version, register_bundle
from registry import tracking as module
from registry import weights_and_biases as wandb_module
from registry.provenance import code_tags
from registry.runs import MlflowTracker, find_run
from registry.tracking import mark_failed, tracked
from registry.training_facts import TrainingFacts
from registry.weights_and_biases import WandbRun, require_wandb
from roadwork.errors import ConfigError, DataError
from roadwork.machine import PACKAGES, describe_machine
from roadwork.settings import Settings, parse_settings
from roadwork.training.curves import Curves, Point
from tests.evaluation.report_case import make_report
from tests.registry.made import Made, make_scores, sealed_bundle

Make = Callable[..., Made]
PIPELINE = "0f0e0d0c-0b0a-0908-0706-050403020100"


def points(*steps: int, name: str = "train/loss") -> list[Point]:
    return [Point(name, step, 1, 1 / step, step / 10) for step in steps]


def settings_in(registry: Registry, **track: str) -> Settings:
    evaluate = {"bootstrap": 200, "worst": 6, "slices": ["source", "time_of_day", "weather"]}
    tree: dict[str, Any] = {"name": "case", "runs": registry.runs, "evaluate": evaluate}
    return parse_settings({**tree, "track": {"wandb": "off", **track}})


def register(registry: Registry, folder: Path, settings: Settings, curves: Curves) -> str:
    report = make_report()
    return register_bundle(
        sealed_bundle(folder, report).path,
        report,
        settings,
        run_name="brisk-otter",
        data_hash="d" * 64,
        scores=make_scores(2.2),
        params={"environment.finetune.torch": "2.9"},
        metrics={"seconds/finetune": 12.5},
        curves=curves,
        pipeline_run=PIPELINE,
        registry=registry,
    )


def steps_of(registry: Registry, run: str, name: str) -> list[int]:
    return [metric.step for metric in registry.client.get_metric_history(run, name)]


def test_training_opens_the_run_and_registration_completes_it(
    registry: Registry, tmp_path: Path
) -> None:
    settings = settings_in(registry)
    with tracked(settings, PIPELINE, "brisk-otter") as tracker:
        tracker.log(points(1, 2))
        tracker.log(points(3))
    run = find_run(registry, PIPELINE)
    assert run is not None
    live = registry.client.get_run(run)
    assert live.info.status == "RUNNING"
    assert live.data.params["finetune.optimizer.name"] == "adamw"
    assert live.data.tags["roadwork.git_commit"] == code_tags()["roadwork.git_commit"]
    assert steps_of(registry, run, "train/loss") == [1, 2, 3]

    # Another process goes on, from a checkpoint before step 3; the last point was never told.
    with tracked(settings, PIPELINE, "brisk-otter") as tracker:
        tracker.log(points(1, 2, 3, 4))
    curves = Curves()
    for point in points(1, 2, 3, 4, 5):
        curves.add(point)
    register(registry, tmp_path / "bundle", settings, curves)

    done = registry.client.get_run(run)
    assert find_version(registry, "candidate").run_id == run
    assert done.info.status == "FINISHED"
    assert len(registry.client.search_runs([registry.experiment_id()])) == 1
    history = registry.client.get_metric_history(run, "train/loss")
    assert [(m.step, m.value) for m in history] == [(n, 1 / n) for n in (1, 2, 3, 4, 5)]
    assert history[0].timestamp == pytest.approx(history[1].timestamp - 100, abs=2)
    assert done.data.params["environment.finetune.torch"] == "2.9"
    assert done.data.metrics["seconds/finetune"] == 12.5
    assert done.data.tags["roadwork.test_hash"] == make_report().provenance.test_hash
    files = {file.path: file.file_size for file in registry.client.list_artifacts(run)}
    table = pq.read_table(registry.client.download_artifacts(run, "curves.parquet", str(tmp_path)))
    assert table == curves.to_table()
    exposure = registry.client.download_artifacts(run, "exposure.json", str(tmp_path))
    assert json.loads(Path(exposure).read_text()) == {"train": {"groups": 1, "samples": 2}}
    assert {"exposure.bin", "test_scores.parquet", "report.html", "settings.json"} <= set(files)


def test_a_run_that_was_not_opened_is_created_with_all_its_points(
    registry: Registry, tmp_path: Path
) -> None:
    curves = Curves()
    for point in points(*range(1, 1203)):
        curves.add(point)
    register(registry, tmp_path / "bundle", settings_in(registry), curves)
    run = find_version(registry, "candidate").run_id
    assert steps_of(registry, str(run), "train/loss") == list(range(1, 1203))
    assert registry.client.get_run(run).data.tags["roadwork.pipeline_run"] == PIPELINE


def test_a_server_that_dies_midway_is_one_warning_and_loses_nothing(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    settings = settings_in(registry)
    original = MlflowTracker.log

    def dying(self: MlflowTracker, told: Sequence[Point]) -> None:
        if told[0].step > 2:
            raise ConnectionError("the server is gone")
        original(self, told)

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(MlflowTracker, "log", dying)
        with tracked(settings, PIPELINE, "n") as tracker:
            for step in range(1, 6):
                tracker.log(points(step))
    assert [record.getMessage() for record in caplog.records] == [
        "the tracker failed and is told no more: the server is gone; training goes on, and "
        "registration tells the rest"
    ]
    run = find_run(registry, PIPELINE)
    assert run is not None
    assert steps_of(registry, run, "train/loss") == [1, 2]
    curves = Curves()
    for point in points(1, 2, 3, 4, 5):
        curves.add(point)
    register(registry, tmp_path / "bundle", settings, curves)
    assert steps_of(registry, run, "train/loss") == [1, 2, 3, 4, 5]


def test_without_a_server_training_goes_on(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setenv("ROADWORK_MLFLOW_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    settings = settings_in(registry)
    with tracked(settings, PIPELINE, "n") as tracker:
        tracker.log(points(1))
    assert "cannot open" in caplog.text
    assert "training goes on" in caplog.text
    mark_failed(settings, PIPELINE)
    assert [record.name for record in caplog.records][-1] == "registry.tracking"


def test_a_failed_pipeline_closes_its_run(registry: Registry) -> None:
    settings = settings_in(registry)
    mark_failed(settings, PIPELINE)
    assert find_run(registry, PIPELINE) is None
    with tracked(settings, PIPELINE, "n") as tracker:
        tracker.log(points(1))
    mark_failed(settings, PIPELINE)
    run = find_run(registry, PIPELINE)
    assert registry.client.get_run(str(run)).info.status == "FAILED"


def test_facts_of_training_have_stable_names() -> None:
    histories: dict[str, dict[str, Any]] = {
        "pretrain": {"skipped": "epochs is 0", "environment": {"torch": "2.9"}},
        "finetune": {
            "select_nll": [0.7, 0.5, 0.6],
            "best_epoch": 1,
            "execution": {"attention": {"kind": "sdpa", "reason": "asked for"}},
            "environment": {"torch": "2.9", "gpu": "none"},
            "curves": Curves.of_columns().columns(),
        },
    }
    facts = TrainingFacts.of(histories, hashes={"train": "a"}, seconds={"finetune": 1.5})
    assert facts.params == {
        "data.hash.train": "a",
        "environment.pretrain.torch": "2.9",
        "environment.finetune.torch": "2.9",
        "environment.finetune.gpu": "none",
        "execution.finetune.attention.kind": "sdpa",
        "execution.finetune.attention.reason": "asked for",
    }
    assert facts.metrics == {
        "seconds/finetune": 1.5,
        "finetune/best_epoch": 1,
        "finetune/select_nll": 0.5,
    }
    assert len(facts.curves) == 0
    curves = Curves()
    curves.add(Point("cascade/loss", 1, 1, 0.5, 0.1))
    histories["cascade"] = {"curves": curves.columns()}
    both = TrainingFacts.of(
        histories, hashes={"train": "a"}, seconds={}, cascade={"cascade/views": 2.5}
    )
    assert list(both.curves) == list(curves)
    assert both.metrics["cascade/views"] == 2.5 and both.params == facts.params
    with pytest.raises(DataError, match="no learning curves"):
        TrainingFacts.of(
            {"finetune": {**histories["finetune"], "curves": {}}}, hashes={}, seconds={}
        )


def test_the_machine_is_described_without_names_of_hosts_and_users(tmp_path: Path) -> None:
    import getpass
    import platform

    found = describe_machine()
    assert {"python", "os", "cpu", "cores", "gpu", "memory_gib", *PACKAGES} <= set(found)
    assert all(found.values())
    assert found["python"] == platform.python_version()
    text = " ".join(found.values())
    assert platform.node() not in text.split()
    assert getpass.getuser() not in text.split()


def test_a_folder_without_git_and_locks_is_unknown(tmp_path: Path) -> None:
    assert set(code_tags(tmp_path).values()) == {"unknown"}
    assert "unknown" not in code_tags().values()


def records_of(path: Path) -> Iterator[bytes]:
    """Records of a log in LevelDB's format, behind a header of seven bytes.

    Blocks of 32 KiB hold pieces, each with a checksum (4 bytes), a length (2) and a type (1):
    whole, first, middle or last.
    """
    data, at, record = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        length, kind = struct.unpack_from("<HB", data, at + 4)
        record += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            yield record
            record = b""


Offline = tuple[list[dict[str, float]], dict[str, str], dict[str, str], set[str]]


def rows_of(folder: Path) -> Offline:
    """History rows, configuration, summary and files in the copy of Weights & Biases."""
    from wandb.proto.wandb_internal_pb2 import Record

    def named(items: Any) -> dict[str, str]:
        return {item.key or "/".join(item.nested_key): item.value_json for item in items}

    history: list[dict[str, float]] = []
    config: dict[str, str] = {}
    summary: dict[str, str] = {}
    files: set[str] = set()
    for path in sorted(folder.rglob("*.wandb")):
        for data in records_of(path):
            record = Record.FromString(data)
            found = named(record.history.item)
            if found:
                history.append({k: json.loads(v) for k, v in found.items() if k[0] != "_"})
            config |= named([*record.run.config.update, *record.config.update])
            summary |= named(record.summary.update)
            for artifact in (record.artifact, record.request.log_artifact.artifact):
                files |= {entry.path for entry in artifact.manifest.contents}
    return history, config, summary, files


@pytest.mark.slow
def test_weights_and_biases_has_the_same_names_offline(registry: Registry, tmp_path: Path) -> None:
    settings = settings_in(registry, wandb="offline")
    with tracked(settings, PIPELINE, "brisk-otter") as tracker:
        tracker.log([*points(1, 2), *points(1, name="pretrain/loss")])
    curves = Curves()
    for point in (*points(1, 2, 3), *points(1, name="pretrain/loss")):
        curves.add(point)
    register(registry, tmp_path / "bundle", settings, curves)
    folder = registry.runs / "wandb"
    history, config, summary, files = rows_of(folder)
    assert history == [
        {"pretrain/loss": 1.0, "pretrain/step": 1},
        {"train/loss": 1.0, "train/step": 1},
        {"train/loss": 0.5, "train/step": 2},
        {"train/loss": 1 / 3, "train/step": 3},
    ]
    run = registry.client.get_run(str(find_run(registry, PIPELINE)))
    assert set(run.data.params) <= set(config)
    assert json.loads(config["roadwork.bundle_hash"]) == run.data.tags["roadwork.bundle_hash"]
    curves_names = {"train/loss", "pretrain/loss"}
    assert set(run.data.metrics) - curves_names <= set(summary)
    assert files == {
        file.path for file in registry.client.list_artifacts(run.info.run_id) if not file.is_dir
    }
    assert [path.name for path in tmp_path.iterdir() if path.name == "wandb"] == []


def test_a_copy_that_fails_is_a_warning(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    def refuse(*_: object, **__: object) -> WandbRun:
        raise OSError("no route to host")

    monkeypatch.setattr("registry.registration.open_wandb", refuse)
    monkeypatch.setattr(module, "open_wandb", refuse)
    settings = settings_in(registry, wandb="offline")
    with tracked(settings, PIPELINE, "n") as tracker:
        tracker.log(points(1))
    assert register(registry, tmp_path / "bundle", settings, Curves()) == "1"
    run = find_run(registry, PIPELINE)
    assert steps_of(registry, str(run), "train/loss") == [1], "MLflow does not suffer from it"
    assert "did not take the whole run: no route to host" in caplog.text


def test_a_copy_that_fails_midway_is_closed(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    done: list[str] = []

    class Failing:
        def log(self, told: Sequence[Point]) -> None:
            raise OSError("the disk is full")

        def close(self) -> None:
            done.append("closed")

    monkeypatch.setattr("registry.registration.open_wandb", lambda *_: Failing())
    settings = settings_in(registry, wandb="offline")
    assert register(registry, tmp_path / "bundle", settings, Curves()) == "1"
    assert done == ["closed"]
    assert "did not take the whole run: the disk is full" in caplog.text


def test_a_missing_package_names_the_extra(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wandb_module.importlib.util, "find_spec", lambda name: None)
    require_wandb(settings_in(registry).track)
    with pytest.raises(ConfigError, match=r'pip install "roadwork\[track\]"'):
        require_wandb(settings_in(registry, wandb="offline").track)
    with pytest.raises(ConfigError, match="wandb is not installed"):
        register(registry, tmp_path / "b", settings_in(registry, wandb="online"), Curves())
    assert registry.client.search_registered_models() == []
