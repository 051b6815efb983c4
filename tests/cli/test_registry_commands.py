"""Commands that speak to the registry, and the refusal of training images in a new process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli import app
from registry import Registry, open_registry
from roadwork.data.exposure import Exposure, IdSet, Use, identifiers
from roadwork.evaluation.record import EvaluationReport
from tests.bundle.make_bundle import jpeg, make_bundle
from tests.registry.made import make_version, new_store

Run = Callable[..., Result]
LENIENT = "promote:\n  confidence: 0.999999\n"


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    for name in ("DATA", "ENGINE", "MLFLOW_URI", "MLFLOW_ARTIFACTS"):
        monkeypatch.delenv(f"ROADWORK_{name}", raising=False)
    monkeypatch.setenv("ROADWORK_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("ROADWORK_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    shutil.copy(new_store().database, tmp_path / "runs" / "mlflow.db")
    (tmp_path / "lenient.yaml").write_text(LENIENT)
    return open_registry()


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_from_candidate_to_champion_and_back(registry: Registry, tmp_path: Path) -> None:
    first = make_version(registry, tmp_path / "first", 2.0)
    order = ("promote", "--config", "lenient.yaml", "--reason", "first", "--actor", "ann")
    dry = run(*order, "--dry-run")
    assert dry.exit_code == 0, dry.output
    assert "pass  AUROC above chance" in dry.stdout
    assert not registry.ledger.exists()
    assert run("predict", "--images", ".", "--out", "x.parquet").exit_code == 1
    done = run(*order)
    assert done.exit_code == 0, done.output
    assert done.stdout.endswith("version 1 is champion now\n")
    assert run(*order).stdout.endswith("version 1 is champion already\n")

    make_version(registry, tmp_path / "second", 0.8)
    refused = run(*order)
    assert refused.exit_code == 3
    assert "FAIL  better than the champion" in refused.stdout
    assert "checks failed" in refused.stderr
    assert run(*order, "--dry-run").exit_code == 3

    make_version(registry, tmp_path / "third", 2.8)
    done = run("promote", "3", *order[1:])
    assert done.stdout.endswith("version 3 is champion now; before it: version 1\n")
    shown = run("promote", "candidate", *order[1:], "--json", "--dry-run")
    assert json.loads(shown.stdout)["version"] == "3"

    back = run("rollback", "--reason", "alarms")
    assert back.stdout == "version 1 is champion again; before it: version 3\n"
    assert run("rollback", "--reason", "again").exit_code == 1

    pulled = run("bundle", "pull", "champion", "--to", "copy")
    assert pulled.exit_code == 0, pulled.output
    assert first.bundle.hash in pulled.stdout
    assert run("bundle", "verify", "copy").exit_code == 0

    found = json.loads(run("doctor", "--json").stdout)["stores"]
    assert found["champion"] == f"version 1, bundle {first.bundle.hash[:12]}"
    assert found["promotions_log"] == "4 decisions, chain intact"
    text = registry.ledger.read_text().replace('"actor": "ann"', '"actor": "eve"', 1)
    registry.ledger.write_text(text)
    assert "was changed" in json.loads(run("doctor", "--json").stdout)["stores"]["promotions_log"]
    assert run("rollback", "--reason", "x").exit_code == 1


def test_report_finds_the_page(registry: Registry, tmp_path: Path) -> None:
    assert run("report").exit_code == 1
    make_version(registry, tmp_path / "first")
    make_version(registry, tmp_path / "second")
    newest = run("report")
    assert newest.exit_code == 0, newest.output
    page = Path(newest.stdout.strip())
    assert page.read_bytes() == (tmp_path / "second" / "report.html").read_bytes()
    assert run("report", "--run", "latest").stdout == newest.stdout
    assert run("report", "--run", "first").stdout != newest.stdout
    assert run("report", "--bundle", "./first").stdout.strip() == str(
        tmp_path / "first" / "report.html"
    )
    unknown = run("report", "--run", "nowhere")
    assert "was registered by a run 'nowhere'" in unknown.stderr
    assert run("report", "--run", "first", "--bundle", "1").exit_code == 2
    assert run("report", "--bundle", "./first", "--data", ".").exit_code == 2


def new_photographs(folder: Path) -> list[bytes]:
    """Twelve labelled photographs of twelve drives in class folders."""
    pictures = []
    for index in range(12):
        label, red = ("roadwork", 150 + 7 * index) if index % 2 else ("none", 20 + 8 * index)
        path = folder / label / f"new-{index}" / "frame.jpg"
        path.parent.mkdir(parents=True)
        path.write_bytes(jpeg(red, 255 - red))
        pictures.append(path.read_bytes())
    return pictures


def test_report_judges_new_photographs(registry: Registry, tmp_path: Path) -> None:
    make_bundle(tmp_path / "b")
    new_photographs(tmp_path / "new")
    order = ("report", "--bundle", "./b", "--data", "new", "--out", "out/page.html")
    shown = run(*order)
    assert shown.exit_code == 0, shown.output
    report = EvaluationReport.from_json(Path("out/page.json").read_text())
    assert (report.name, report.synthetic) == ("new", False)
    assert (report.test.n, report.test.n_positive, report.test.n_groups) == (12, 6, 12)
    auroc = report.metric("auroc")
    assert auroc is not None
    assert auroc.value == 1.0
    assert "<html" in Path("out/page.html").read_text()
    assert run(*order).exit_code == 2
    assert run(*order, "--overwrite").exit_code == 0


def test_a_bundle_refuses_its_training_images_in_a_new_process(
    registry: Registry, tmp_path: Path
) -> None:
    import hashlib

    import numpy as np

    pictures = new_photographs(tmp_path / "new")
    heads = [int(hashlib.sha256(picture).hexdigest()[:16], 16) for picture in pictures[:2]]
    seen = IdSet.of(np.array(heads, dtype=np.uint64), identifiers(["elsewhere"]))
    exposure = Exposure({Use.TRAIN: seen}).to_bytes()
    make_bundle(tmp_path / "b", {"exposure.bin": exposure})
    (tmp_path / "new" / "none" / "new-0").rename(tmp_path / "new" / "none" / "renamed")
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "cli", "report", "--bundle", "./b"]
    done = subprocess.run(
        [*command, "--data", "new", "--out", "page.html"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert done.returncode == 1
    assert "error: cannot evaluate the bundle " in done.stderr
    assert "(train): 2 samples" in done.stderr
    assert "Traceback" not in done.stderr
    assert not Path("page.html").exists()
