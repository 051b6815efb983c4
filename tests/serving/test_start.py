"""The service refuses to start on anything but a sound bundle, and says why in one line."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np

from roadwork.bundle import ModelBundle
from tests.bundle.make_bundle import make_bundle, onnx_model
from tests.serving.server import BENTOML, ROOT, environment, free_port


def start(home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BENTOML, "serve", "--port", str(free_port())],
        cwd=ROOT,
        env=environment(home, **variables),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def assert_refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    for word in words:
        assert word in line


def test_a_changed_bundle(bundle: ModelBundle, tmp_path: Path) -> None:
    changed = Path(shutil.copytree(bundle.path, tmp_path / "changed"))
    data = bytearray((changed / "model.onnx").read_bytes())
    data[-5] ^= 1
    (changed / "model.onnx").write_bytes(data)
    done = start(tmp_path, ROADWORK_BUNDLE=str(changed))
    assert_refused(done, "model.onnx", "was changed after it was sealed", "fetch the bundle again")


def test_a_graph_that_answers_differently(tmp_path: Path) -> None:
    other = np.array([[-3.1, 3.0], [0.0, 0.0], [3.0, -3.0]], dtype=np.float32)
    sealed = make_bundle(tmp_path / "bundle", {"model.onnx": onnx_model(other)})
    done = start(tmp_path, ROADWORK_BUNDLE=str(sealed.path))
    assert_refused(done, "the self-test of the bundle", "golden/")


def test_no_champion_yet(tmp_path: Path) -> None:
    assert_refused(start(tmp_path), "make demo", "ROADWORK_BUNDLE")


def test_an_engine_that_does_not_exist(bundle: ModelBundle, tmp_path: Path) -> None:
    done = start(tmp_path, ROADWORK_BUNDLE=str(bundle.path), ROADWORK_ENGINE="tensorflow")
    assert_refused(done, "no engine 'tensorflow'", "openvino")
