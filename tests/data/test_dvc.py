"""The DVC pipeline in a checkout of its own: run, pushed to a local S3 server, wiped, pulled."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.data import s3

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
TRACKED = ("dvc.yaml", "params.yaml", ".dvcignore", ".dvc/config", ".dvc/.gitignore")
DRIVES = 32

Dvc = Callable[..., str]

pytestmark = pytest.mark.skipif(
    not (BIN / "dvc").exists(), reason='needs pip install "roadwork[version]"'
)


def checkout(folder: Path) -> Path:
    """What DVC needs of a checkout: its own files, and the code that stages depend on."""
    for name in TRACKED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    shutil.copytree(
        ROOT / "roadwork" / "data",
        folder / "roadwork" / "data",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["generate"] |= {"drives": DRIVES, "size": "96x64"}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    subprocess.run(["git", "init", "-q", folder], check=True)
    return folder


def dvc_in(folder: Path, state: Path, endpoint: str) -> Dvc:
    """DVC with its caches, and S3's variables, kept to the test."""
    variables = {name: value for name, value in os.environ.items() if "ROADWORK_" not in name}
    variables |= s3.environment(endpoint)
    variables |= {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "DVC_NO_ANALYTICS": "1",
        "DVC_GLOBAL_CONFIG_DIR": str(state / "global"),
        "DVC_SYSTEM_CONFIG_DIR": str(state / "system"),
        "DVC_SITE_CACHE_DIR": str(state / "site"),
    }
    variables.pop("PYTHONDONTWRITEBYTECODE", None)

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [BIN / "dvc", *arguments],
            cwd=folder,
            env=variables,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{arguments}:\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    return run


def contents(folder: Path) -> dict[str, bytes]:
    found = sorted(folder.rglob("*"))
    # DVC writes .gitignore files beside its outputs; git keeps those.
    files = (path for path in found if path.is_file() and path.name != ".gitignore")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def outputs(folder: Path) -> dict[str, str]:
    """Hash of every output, as DVC's lock has it."""
    lock = yaml.safe_load((folder / "dvc.lock").read_text())
    return {out["path"]: out["md5"] for stage in lock["stages"].values() for out in stage["outs"]}


@pytest.mark.slow
def test_repro_push_wipe_pull(tmp_path: Path, s3_bucket: str, s3_endpoint: str) -> None:
    folder = checkout(tmp_path / "first")
    dvc = dvc_in(folder, tmp_path / "state", s3_endpoint)
    dvc("repro")
    made = contents(folder / "data")
    for name in ("manifest/table.parquet", "sets/test/samples.parquet", "shards/train/set.parquet"):
        assert name in made
    assert "up to date" in dvc("repro")

    dvc("remote", "add", "--local", "--default", "made", f"{s3_bucket}/dvc")
    dvc("remote", "modify", "--local", "made", "endpointurl", s3_endpoint)
    dvc("push")
    shutil.rmtree(folder / "data")
    shutil.rmtree(folder / ".dvc" / "cache")
    dvc("pull")
    assert contents(folder / "data") == made

    # From scratch, elsewhere, without the first one's cache: the same bytes.
    other = checkout(tmp_path / "second")
    dvc_in(other, tmp_path / "state-2", s3_endpoint)("repro")
    assert outputs(other) == outputs(folder)

    # A changed parameter runs what depends on it, and nothing else.
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["shard"]["megabytes"] = 1
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    said = dvc("repro")
    assert "Running stage 'shard'" in said
    assert "Running stage 'split'" not in said


def test_stages_run_commands_that_exist_on_settings_that_are_valid() -> None:
    import typer

    from cli.app import app
    from roadwork.settings import load_settings

    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    data = typer.main.get_command(app).commands["data"]  # pyright: ignore
    for name, stage in stages.items():
        words = stage["cmd"].split()
        assert words[:3] == ["roadwork", "data", name]
        known = {option for each in data.commands[name].params for option in each.opts}
        assert {word for word in words if word.startswith("--")} <= known
        for dependency in stage["deps"]:
            assert dependency.startswith("data/") or (ROOT / dependency).exists(), dependency
    settings = load_settings(ROOT / "params.yaml")
    roots = {getattr(source, "root", None) for source in settings.data.sources}
    assert roots == {f"data/raw/{name}" for name in stages["generate"]["matrix"]["format"]}


def test_dvc_reports_nothing_home() -> None:
    text = (ROOT / ".dvc" / "config").read_text()
    assert "analytics = false" in text
    assert "check_update = false" in text
