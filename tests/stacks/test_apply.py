"""Stacks from files: applied twice, the second time changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from roadwork.errors import ConfigError
from stacks.apply import apply_stack, main, read_stack


def test_the_local_stack_is_complete() -> None:
    tree = read_stack("local")
    assert tree["stack_name"] == "local"
    assert set(tree["components"]) == {"orchestrator", "artifact_store"}


def test_an_unknown_stack_is_told_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"no stack file moon\.yaml.*known are .*local"):
        read_stack("moon")


def test_a_file_that_is_no_stack(tmp_path: Path) -> None:
    (tmp_path / "odd.yaml").write_text("name: x\n")
    with pytest.raises(ConfigError, match="stack_name and components"):
        read_stack("odd", tmp_path)


def test_the_command_says_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["moon"]) == 2
    assert "error: there is no stack file" in capsys.readouterr().err


@pytest.fixture
def default_again(zenml: Any) -> Any:
    yield zenml
    zenml.activate_stack("default")


def test_applying_twice_changes_nothing(default_again: Any) -> None:
    tree = read_stack("local")
    assert apply_stack(tree) == ["registered the stack local", "activated the stack local"]
    assert default_again.active_stack_model.name == "local"
    assert apply_stack(tree) == []


def test_a_changed_file_is_followed(default_again: Any, tmp_path: Path) -> None:
    store = {"name": "other", "type": "artifact_store", "flavor": "local"}
    tree: dict[str, Any] = {
        "stack_name": "changing",
        "components": {
            "orchestrator": read_stack("local")["components"]["orchestrator"],
            "artifact_store": [store | {"configuration": {"path": str(tmp_path / "a")}}],
        },
    }
    assert apply_stack(tree) == [
        "registered the artifact_store other (local)",
        "registered the stack changing",
        "activated the stack changing",
    ]
    tree["components"]["artifact_store"][0]["configuration"]["path"] = str(tmp_path / "b")
    assert apply_stack(tree) == ["updated the artifact_store other"]
    assert apply_stack(tree) == []
    tree["components"]["artifact_store"] = read_stack("local")["components"]["artifact_store"]
    assert apply_stack(tree) == ["updated the stack changing"]
    assert apply_stack(tree) == []


def test_another_flavor_under_the_same_name_is_refused(default_again: Any) -> None:
    tree = {
        "stack_name": "clash",
        "components": {
            "orchestrator": [{"name": "default", "type": "orchestrator", "flavor": "local_docker"}]
        },
    }
    with pytest.raises(ConfigError, match="flavor local, not local_docker"):
        apply_stack(tree)
