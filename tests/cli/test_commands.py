"""Commands as a user types them, against a real registry and hand-made bundles."""

from __future__ import annotations

import csv
import json
import logging
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner, Result

from cli import app
from roadwork import __version__
from roadwork.settings import Settings, parse_settings
from tests.bundle.make_bundle import jpeg, make_bundle

HEAVY = (
    "bentoml",
    "mlflow",
    "numpy",
    "onnxruntime",
    "pandas",
    "pyarrow",
    "scipy",
    "torch",
    "zenml",
)
COMMANDS = (
    "demo",
    "doctor",
    "predict",
    "report",
    "data",
    "streetvision",
    "export",
    "promote",
    "rollback",
    "list",
    "bundle",
    "config",
)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    for name in ("DATA", "ENGINE", "MLFLOW_URI", "MLFLOW_ARTIFACTS"):
        monkeypatch.delenv(f"ROADWORK_{name}", raising=False)
    monkeypatch.setenv("ROADWORK_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("ROADWORK_THREADS", "1")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: object) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return invoke


Run = Callable[..., Result]


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Four photographs in two class folders, and two files that are none."""
    folder = tmp_path / "photographs"
    for index, (label, red) in enumerate(
        [("roadwork", 220), ("roadwork", 200), ("none", 30), ("none", 50)]
    ):
        path = folder / label / f"drive-{index}" / "frame.jpg"
        path.parent.mkdir(parents=True)
        path.write_bytes(jpeg(red, 255 - red))
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.png").write_text("not an image")
    return folder


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, cli\n"
        "from typer.testing import CliRunner\n"
        "assert CliRunner().invoke(cli.app, ['--help']).exit_code == 0\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_and_version(run: Run) -> None:
    shown = run("--help")
    assert shown.exit_code == 0
    for command in COMMANDS:
        assert command in shown.output
    assert run("--version").output == f"roadwork {__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(run: Run, command: str) -> None:
    assert run(command, "-h").exit_code == 0


def test_wrong_usage_leaves_with_two(run: Run) -> None:
    for arguments in (("nothing",), ("predict",), ("list", "nothing"), ("promote",)):
        assert run(*arguments).exit_code == 2, arguments


def test_our_loggers_are_put_back(run: Run) -> None:
    logger = logging.getLogger("roadwork")
    before = (logger.level, list(logger.handlers), logger.propagate)
    assert run("config", "schema").exit_code == 0
    assert run("bundle", "verify", "nowhere").exit_code == 1
    assert (logger.level, list(logger.handlers), logger.propagate) == before


def test_errors_are_one_message_and_debug_shows_the_traceback(run: Run) -> None:
    shown = run("bundle", "verify", "nowhere")
    assert shown.exit_code == 1
    assert shown.stdout == ""
    assert shown.stderr.startswith("error: ")
    assert "nowhere" in shown.stderr
    assert "Traceback" not in shown.output
    assert type(run("--debug", "bundle", "verify", "nowhere").exception).__name__ == "BundleError"


def test_a_missing_package_is_named_without_a_traceback(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(_: object) -> None:
        raise ModuleNotFoundError("No module named 'zenml'", name="zenml")

    module = types.ModuleType("pipelines.run")
    module.__dict__["run_training"] = missing
    monkeypatch.setitem(sys.modules, "pipelines", types.ModuleType("pipelines"))
    monkeypatch.setitem(sys.modules, "pipelines.run", module)
    shown = run("demo")
    assert shown.exit_code == 1
    assert shown.stderr.startswith("error: the package zenml is not installed")


def test_config_show_resolves_and_can_be_read_back(run: Run, tmp_path: Path) -> None:
    shown = run("config", "show")
    assert "auto" not in str(yaml.safe_load(shown.output)["finetune"])
    (tmp_path / "own.yaml").write_text("name: mine\nseed: 7\n")
    tree = yaml.safe_load(run("config", "show", "--config", "own.yaml").output)
    settings = parse_settings(tree)
    assert (settings.name, settings.seed, settings.runs) == ("mine", 7, tmp_path / "runs")
    (tmp_path / "own.yaml").write_text("sede: 7\n")
    wrong = run("config", "show", "--config", "own.yaml")
    assert wrong.exit_code == 2
    assert "sede: there is no such key" in wrong.stderr


def test_config_schema_and_env(run: Run) -> None:
    assert json.loads(run("config", "schema").output) == Settings.model_json_schema()
    shown = run("config", "env").output
    for name in ("ROADWORK_DATA", "ROADWORK_RUNS", "ROADWORK_MLFLOW_URI", "ROADWORK_OFFLINE"):
        assert name in shown


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("sources", "synthetic"),
        ("calibrators", "temperature"),
        ("conformal", "mondrian"),
        ("engines", "onnxruntime"),
        ("metrics", "mcc"),
    ],
)
def test_list(run: Run, kind: str, name: str) -> None:
    rows = json.loads(run("list", kind, "--json").output)
    assert name in [row["name"] for row in rows]
    assert name in run("list", kind).output


def test_doctor_names_what_is_missing_and_creates_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import cli.health as health

    listed = {"base": ["numpy"], "odd": ["no-such-package", "numpy"]}
    monkeypatch.setattr(health, "_requirements", lambda: listed)
    shown = run("doctor", "--json")
    assert shown.exit_code == 0, shown.output
    found = json.loads(shown.output)
    assert found["packages"]["odd"]["missing"] == ["no-such-package"]
    assert found["packages"]["odd"]["fix"] == 'pip install "roadwork[odd]"'
    assert found["packages"]["base"]["fix"] is None
    assert "no model registry yet" in found["stores"]["mlflow"]
    assert found["telemetry"] == "off"
    assert not (tmp_path / "runs").exists()
    assert 'pip install "roadwork[odd]"' in run("doctor").output


def test_doctor_reads_requirements_by_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    from cli.health import _checkout_requirements, packages

    monkeypatch.setattr("cli.health.metadata.requires", lambda _: _checkout_requirements())
    found = packages()
    assert {"numpy", "typer"} <= set(found["base"]["installed"])
    assert "torch" in {*found["train"]["installed"], *found["train"]["missing"]}


def test_doctor_reads_the_active_stack_from_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sqlite3

    from cli.health import active_stack

    store = tmp_path / "zen" / "local_stores" / "default_zen_store"
    store.mkdir(parents=True)
    with sqlite3.connect(store / "zenml.db") as connection:
        connection.execute("CREATE TABLE stack (id TEXT, name TEXT)")
        connection.execute("INSERT INTO stack VALUES ('0a1b2c', 'roadwork-local')")
    connection.close()
    (tmp_path / "zen" / "config.yaml").write_text("active_stack_id: 0a-1b-2c\n")
    monkeypatch.setenv("ZENML_CONFIG_PATH", str(tmp_path / "zen"))
    monkeypatch.chdir(tmp_path)
    assert active_stack() == "roadwork-local"
    (tmp_path / ".zen").mkdir()
    (tmp_path / ".zen" / "config.yaml").write_text("active_stack_id: ffff\n")
    assert active_stack() == "ffff (unknown to the local store)"


def test_bundle_verify_and_self_test(run: Run, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "b")
    shown = run("bundle", "verify", "b", "--self-test")
    assert shown.exit_code == 0, shown.output
    assert bundle.hash in shown.output
    assert "self-test   4 pictures" in shown.output
    (tmp_path / "b" / "model.onnx").write_bytes(b"x")
    broken = run("bundle", "verify", "b")
    assert broken.exit_code == 1
    assert "model.onnx" in broken.stderr


def test_predict_a_folder(run: Run, tmp_path: Path, photographs: Path) -> None:
    bundle = make_bundle(tmp_path / "b")
    order = ("predict", "--bundle", "./b", "--images", photographs, "--out", "deep/a.parquet")
    shown = run(*order)
    assert shown.exit_code == 0, shown.output
    assert "4 answered" in shown.stdout
    assert "2 unreadable" in shown.stdout
    table = pq.read_table("deep/a.parquet")
    assert table.column_names == ["file", "probability", "label", "prediction_set", "defer"]
    assert table.schema.metadata[b"roadwork.model"].decode() == bundle.hash
    labels = dict(zip(table["file"].to_pylist(), table["label"].to_pylist(), strict=True))
    assert labels["roadwork/drive-0/frame.jpg"] == "roadwork"
    assert labels["none/drive-2/frame.jpg"] == "none"
    refused = pq.read_table("deep/a.quarantine.parquet").to_pylist()
    assert [(row["file"], row["reason"]) for row in refused] == [
        ("empty.jpg", "empty"),
        ("text.png", "not_an_image"),
    ]
    assert sorted(path.name for path in Path("deep").iterdir()) == [
        "a.parquet",
        "a.quarantine.parquet",
    ]
    again = run(*order)
    assert again.exit_code == 2
    assert "--overwrite" in again.stderr
    for name in ("empty.jpg", "text.png"):
        (photographs / name).unlink()
    assert run(*order, "--overwrite").exit_code == 0
    assert not Path("deep/a.quarantine.parquet").exists()


def test_predict_a_csv_and_total_failure(run: Run, tmp_path: Path, photographs: Path) -> None:
    make_bundle(tmp_path / "b")
    good = photographs / "list.csv"
    with good.open("w", newline="") as file:
        csv.writer(file).writerows([["file"], ["roadwork/drive-1/frame.jpg"], ["gone.jpg"]])
    assert run("predict", "--bundle", "./b", "--images", good, "--out", "a.parquet").exit_code == 0
    refused = pq.read_table("a.quarantine.parquet").to_pylist()
    assert [(row["file"], row["reason"]) for row in refused] == [("gone.jpg", "missing")]
    good.write_text("file\nempty.jpg\n")
    failed = run("predict", "--bundle", "./b", "--images", good, "--out", "c.parquet")
    assert failed.exit_code == 1
    assert "not one of 1 files could be answered" in failed.stderr
    assert not Path("c.parquet").exists()
    assert Path("c.quarantine.parquet").exists()
    good.write_text("image\nempty.jpg\n")
    wrong = run("predict", "--bundle", "./b", "--images", good, "--out", "d.parquet")
    assert wrong.exit_code == 2
    assert "no column `file`; it has: image" in wrong.stderr


def test_predict_without_a_registry_says_what_to_do(run: Run, photographs: Path) -> None:
    shown = run("predict", "--images", photographs, "--out", "a.parquet")
    assert shown.exit_code == 1
    assert "make demo" in shown.stderr
    assert not Path("runs").exists()


def test_demo_prints_the_summary_of_the_pipeline(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = {
        "report": "r.html",
        "bundle": "b",
        "bento": "",
        "synthetic": True,
        "version": "3",
        "alias": "candidate",
        "gate": [
            {"name": "engines answer alike", "passed": True, "detail": "yes"},
            {"name": "coverage of none", "passed": False, "detail": "54 of 93"},
        ],
        "metrics": {
            "auroc": {"value": 0.91234, "low": 0.85, "high": 0.96, "baseline": 0.7},
            "mcc": {"value": None, "low": None, "high": None, "baseline": None},
        },
        "seconds": 61.2,
        "cached_steps": ["ingest"],
    }
    asked: list[Path | None] = []

    def run_training(settings_path: Path | None) -> Path:
        asked.append(settings_path)
        (tmp_path / "summary.json").write_text(json.dumps(summary))
        return tmp_path / "summary.json"

    module = types.ModuleType("pipelines.run")
    module.__dict__["run_training"] = run_training
    monkeypatch.setitem(sys.modules, "pipelines", types.ModuleType("pipelines"))
    monkeypatch.setitem(sys.modules, "pipelines.run", module)
    shown = run("demo", "--config", "own.yaml")
    assert shown.exit_code == 0, shown.output
    assert asked == [Path("own.yaml")]
    words = " ".join(shown.output.split())
    assert "AUROC 0.912 0.850 to 0.960 0.700" in words
    assert "MCC" not in words
    assert "say nothing about real roads" in words
    assert "1 of 2 checks passed coverage of none: 54 of 93" in words
    assert "roadwork predict --bundle candidate" in words
    assert json.loads(run("demo", "--json").output) == summary
