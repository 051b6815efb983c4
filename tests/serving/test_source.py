"""Which bundle is served: packed, named by a folder, or found by an alias."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from roadwork.environment import Environment
from roadwork.errors import BundleError, RegistryError
from serving.source import PACKED, find_bundle


def environment(bundle: str) -> Environment:
    return Environment.model_validate({"bundle": bundle})


def install_registry(monkeypatch: pytest.MonkeyPatch, answer: Path | RegistryError) -> list[str]:
    """A registry that answers every alias so; returns the aliases it was asked for."""
    asked: list[str] = []

    def resolve_bundle(alias: str) -> Path:
        asked.append(alias)
        if isinstance(answer, RegistryError):
            raise answer
        return answer

    module = ModuleType("registry")
    module.resolve_bundle = resolve_bundle  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "registry", module)
    return asked


def test_the_packed_bundle_wins(tmp_path: Path) -> None:
    (tmp_path / PACKED).mkdir()
    assert find_bundle(environment(str(tmp_path)), tmp_path) == tmp_path / PACKED


def test_a_folder_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_bundle(environment(str(tmp_path)), tmp_path) == tmp_path
    monkeypatch.chdir(tmp_path)
    assert find_bundle(environment("./"), tmp_path) == tmp_path


def test_a_folder_that_is_not_there_is_no_alias(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"names the folder .*nothing, which does not exist"):
        find_bundle(environment(str(tmp_path / "nothing")), tmp_path)


def test_an_alias_is_looked_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = install_registry(monkeypatch, tmp_path)
    (tmp_path / "champion").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_bundle(Environment.model_validate({}), tmp_path) == tmp_path
    assert find_bundle(environment("candidate"), tmp_path) == tmp_path
    assert asked == ["champion", "candidate"]


def test_an_alias_that_does_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_registry(monkeypatch, RegistryError("there is no champion yet: run `make demo`"))
    with pytest.raises(RegistryError, match=r"no champion yet: run `make demo`.*ROADWORK_BUNDLE"):
        find_bundle(environment("champion"), tmp_path)


def test_a_machine_without_the_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "registry", None)
    with pytest.raises(RegistryError, match=r"not installed here.*set ROADWORK_BUNDLE to the fold"):
        find_bundle(environment("champion"), tmp_path)
