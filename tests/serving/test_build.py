"""Building Bentos, with the bundle inside or without, and serving one."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import httpx
import pytest
import yaml

from roadwork.bundle import ModelBundle
from roadwork.errors import BundleError, RoadworkError
from serving.build import build_bento
from serving.source import PACKED
from tests.bundle.make_bundle import jpeg
from tests.serving.server import ROOT, environment, serving

BUILD = "import sys; from serving.build import build_bento; print(build_bento(sys.argv[1], 'test'))"
# The command as it is where nothing has switched the reports off before Python starts.
PLAIN = (
    "import os; os.environ.pop('BENTOML_DO_NOT_TRACK', None); "
    "import httpx; httpx.post = lambda url, **content: print('REPORTED TO', url); "
    "from bentoml_cli.cli import cli; cli(prog_name='bentoml')"
)
CODE = {"roadwork", "serving"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def tag(home: Path, bundle: ModelBundle) -> str:
    # In a process of its own, as BentoML changes the warnings and the logging of its process.
    done = subprocess.run(
        [sys.executable, "-c", BUILD, str(bundle.path)],
        cwd=ROOT,
        env=environment(home),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def folder_of(home: Path, tag: str) -> Path:
    return home / "bentoml" / "bentos" / Path(*tag.split(":"))


def test_a_bento_contains_the_bundle_and_the_code(
    home: Path, tag: str, bundle: ModelBundle
) -> None:
    source = folder_of(home, tag) / "src"
    assert ModelBundle.open(source / PACKED).hash == bundle.hash
    assert {path.name for path in source.iterdir() if path.is_dir()} == CODE | {PACKED}
    assert (source / "serving" / "pages" / "index.html").is_file()
    assert not list(source.rglob("__pycache__"))
    described = yaml.safe_load((folder_of(home, tag) / "bento.yaml").read_text())
    assert described["labels"]["bundle"] == bundle.hash


def test_the_requirements_can_be_installed(home: Path, tag: str) -> None:
    path = folder_of(home, tag) / "env" / "python" / "requirements.txt"
    lines = [line for line in path.read_text().splitlines() if line]
    assert all("==" in line and "--hash" not in line for line in lines)
    assert {"numpy", "onnxruntime", "openvino"} <= {line.partition("==")[0] for line in lines}
    assert not any(line.startswith(("torch=", "mlflow=", "zenml=")) for line in lines)


@pytest.mark.slow
def test_a_built_bento_serves_its_bundle(
    home: Path, tag: str, bundle: ModelBundle, tmp_path: Path
) -> None:
    # From another folder, and with a variable that names no bundle: what is packed counts.
    variables = environment(home, ROADWORK_BUNDLE="nothing")
    with serving([tag], tmp_path, variables, tmp_path / "log") as address:
        reply = httpx.post(f"{address}/predict", files={"image": jpeg(240, 20)}, timeout=60)
        assert reply.json()["label"] == "roadwork"
        assert reply.json()["model"] == bundle.hash


@pytest.mark.slow
def test_a_plain_build_in_the_root_reports_to_nobody(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PLAIN, "build", "--output", "tag"],
        cwd=ROOT,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "REPORTED" not in done.stdout + done.stderr
    (source,) = (tmp_path / "bentoml" / "bentos" / "roadwork").glob("*/src")
    assert {path.name for path in source.iterdir() if path.is_dir()} == CODE
    assert not list(source.rglob("__pycache__"))


def test_the_bentofile_is_in_step_with_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    expected = {*project["dependencies"], *project["optional-dependencies"]["serve"]}
    bentofile = yaml.safe_load((ROOT / "bentofile.yaml").read_text())
    assert set(bentofile["python"]["packages"]) == expected


def test_a_changed_bundle_is_not_packed(bundle: ModelBundle, tmp_path: Path) -> None:
    changed = Path(shutil.copytree(bundle.path, tmp_path / "changed"))
    (changed / "README.md").write_text("changed")
    with pytest.raises(BundleError, match=r"README\.md .* was changed"):
        build_bento(changed)


def test_missing_requirements_are_named(bundle: ModelBundle, tmp_path: Path) -> None:
    with pytest.raises(
        RoadworkError, match=r"requirements/serve\.txt: write them with `make lock`"
    ):
        build_bento(bundle.path, root=tmp_path)
