"""``roadwork streetvision`` and ``roadwork export`` as a user types them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from cli import app
from tests.bundle.make_bundle import WEIGHTS, jpeg, make_bundle, onnx_model

HOTKEY = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY"

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("ROADWORK_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("ROADWORK_THREADS", "1")
    monkeypatch.setenv("ROADWORK_ENGINE", "onnxruntime")
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: object) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return invoke


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Six drives with a reddish and a bluish picture each."""
    folder = tmp_path / "photographs"
    for drive in range(6):
        for label, red in (("roadwork", 165 + 8 * drive), ("none", 95 - 8 * drive)):
            path = folder / label / f"tour-{drive}" / "frame.jpg"
            path.parent.mkdir(parents=True)
            path.write_bytes(jpeg(red, 255 - red))
    return folder


def test_bundles_are_ranked(run: Run, tmp_path: Path, photographs: Path) -> None:
    make_bundle(tmp_path / "good")
    make_bundle(tmp_path / "wrong", {"model.onnx": onnx_model(-WEIGHTS)})
    order = ("--data", photographs, "--challenges", 120, "--seeds", 1)
    shown = run("streetvision", "./wrong", "./good", *order)
    assert shown.exit_code == 0, shown.output
    words = " ".join(shown.stdout.split())
    assert "1 x 120 challenges made of 12 photographs, 6 groups" in words
    assert "1 ./good 2 ./wrong" in words
    assert "2 less 1: -" in words
    assert "note Every challenge shows one of your photographs." in words
    found = json.loads(run("--quiet", "streetvision", "./wrong", "./good", *order, "--json").stdout)
    assert [model["name"] for model in found["models"]] == ["./good", "./wrong"]
    assert found["models"][0]["reward"] > 0.6
    assert found["models"][1]["reward"] < 0.05
    assert f"{found['models'][0]['reward']:.3f}" in words
    assert "█" in shown.stdout


def test_what_cannot_be_ranked(run: Run, tmp_path: Path, photographs: Path) -> None:
    make_bundle(tmp_path / "good")
    twice = run("streetvision", "./good", "./good", "--data", photographs)
    assert twice.exit_code == 2
    assert "named twice" in twice.stderr
    few = run("streetvision", "./good", "--data", photographs, "--challenges", 50)
    assert few.exit_code == 2
    assert "more than 100" in few.stderr
    assert run("streetvision", "./good", "--data", "nowhere").exit_code == 2
    (photographs / "roadwork" / "tour-0").rename(photographs / "roadwork" / "drive-1")
    seen = run("streetvision", "./good", "--data", photographs)
    assert seen.exit_code == 1
    assert "already exposed" in seen.stderr and "drive-1" in seen.stderr


def arguments(**changes: object) -> list[object]:
    given = {
        "target": "streetvision",
        "bundle": "./good",
        "to": "out",
        "name": "Mean colour",
        "version": "0.1.0",
        "hotkey": HOTKEY,
        "time": "1767225600",
        **changes,
    }
    return [word for key, value in given.items() for word in (f"--{key}", value)]


def test_export_without_and_with_photographs(run: Run, tmp_path: Path, photographs: Path) -> None:
    make_bundle(tmp_path / "good")
    shown = run("export", *arguments())
    assert shown.exit_code == 0, shown.output
    assert "threshold   0.5000 lies at 0.5 (logit +0.0000)" in shown.stdout
    assert "give --data" in shown.stdout
    assert "checked     16 pictures" in shown.stdout
    card = json.loads((tmp_path / "out" / "model_card.json").read_text())
    assert (card["version"], card["submission_time"]) == ("0.1.0", 1767225600)
    again = run("export", *arguments())
    assert again.exit_code == 2
    assert "exists already" in again.stderr
    fitted = run("export", *arguments(to="fitted", data=photographs, challenges=110, seeds=1))
    assert fitted.exit_code == 0, fitted.output
    point = json.loads((tmp_path / "fitted" / "operating_point.json").read_text())
    assert point["photographs"] == 12
    assert np.isfinite(point["choice"]["gain"])
    assert f"{point['choice']['gain']:+.3f}" in fitted.stdout


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": "moon"}, "known are streetvision"),
        ({"version": "1"}, "X.Y.Z"),
        ({"hotkey": "me"}, "SS58"),
        ({"name": "-"}, "the name '-'"),
        ({"time": "noon"}, "Unix seconds"),
        ({"threshold": 1.5}, "between 0 and 1"),
        ({"threshold": 0.4, "data": "photographs"}, "not both"),
    ],
)
def test_wrong_arguments_are_one_message(
    run: Run, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    make_bundle(tmp_path / "good")
    shown = run("export", *arguments(**changes))
    assert shown.exit_code == 2
    assert message in shown.stderr
    assert not (tmp_path / "out").exists()
