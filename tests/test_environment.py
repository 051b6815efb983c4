"""Environment variables: typed, named, and in step with the example file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from roadwork.environment import TELEMETRY_OFF, Environment, silence_telemetry

ROOT = Path(__file__).resolve().parents[1]


def test_defaults() -> None:
    environment = Environment()
    assert environment.runs == Path("runs")
    assert environment.data is None
    assert (environment.bundle, environment.engine) == ("champion", "auto")
    assert environment.offline is True


def test_values_are_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROADWORK_THREADS", "3")
    monkeypatch.setenv("ROADWORK_OFFLINE", "false")
    environment = Environment()
    assert environment.threads == 3
    assert environment.offline is False


def test_an_empty_variable_is_an_unset_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROADWORK_RUNS", "")
    monkeypatch.setenv("ROADWORK_THREADS", "")
    assert Environment() == Environment(runs=Path("runs"), threads=0)


@pytest.mark.parametrize("value", ["many", "-1"])
def test_a_wrong_value_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("ROADWORK_THREADS", value)
    with pytest.raises(ValidationError, match="threads"):
        Environment()


def test_every_variable_is_described() -> None:
    assert [name for name, field in Environment.model_fields.items() if not field.description] == []


def test_telemetry_is_off_unless_the_user_said_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in TELEMETRY_OFF:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DO_NOT_TRACK", "0")
    silence_telemetry()
    assert {name: os.environ[name] for name in TELEMETRY_OFF} == TELEMETRY_OFF | {
        "DO_NOT_TRACK": "0"
    }


def test_generated_references_are_in_step() -> None:
    done = subprocess.run(
        [sys.executable, "docs/references.py", "--check"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_every_variable_is_in_the_example() -> None:
    example = (ROOT / ".env.example").read_text()
    for name in Environment.model_fields:
        assert f"#ROADWORK_{name.upper()}=" in example


def test_the_startup_line_gives_zenml_a_home_in_the_checkout(tmp_path: Path) -> None:
    from stacks.checkout import startup_line

    code = (
        startup_line(tmp_path)
        + "print(os.environ['ZENML_CONFIG_PATH'], os.environ['DO_NOT_TRACK'])"
    )
    for given, home in (
        ({}, tmp_path / "runs" / "zenml"),
        ({"ZENML_CONFIG_PATH": "/mine"}, "/mine"),
    ):
        out = subprocess.run(
            [sys.executable, "-S", "-c", code],
            env=given,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert out.split() == [str(home), "1"]
