from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from registry import Registry, open_registry
from roadwork.environment import Environment
from tests.registry.made import Made, make_version, new_store


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    for name in ("MLFLOW_URI", "MLFLOW_ARTIFACTS", "RUNS"):
        monkeypatch.delenv(f"ROADWORK_{name}", raising=False)
    monkeypatch.chdir(tmp_path)
    runs = tmp_path / "runs"
    runs.mkdir()
    shutil.copy(new_store().database, runs / "mlflow.db")
    return open_registry(Environment(), runs)


@pytest.fixture
def make(registry: Registry, tmp_path: Path) -> Callable[..., Made]:
    def build(
        name: str, strength: float = 2.2, *, start: int = 90_000, with_scores: bool = True
    ) -> Made:
        return make_version(registry, tmp_path / name, strength, start, with_scores)

    return build
