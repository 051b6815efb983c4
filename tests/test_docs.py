"""The documentation: links lead somewhere, commands and settings exist, references are whole."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
import typer
import yaml
from pydantic import BaseModel

from roadwork.environment import Environment
from roadwork.settings import Settings, Source, parse_settings

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = sorted(DOCS.glob("*.md"))


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def commands() -> Iterator[tuple[str, list[str]]]:
    for page in PAGES:
        for line in "".join(blocks(page, "bash")).splitlines():
            words = shlex.split(line, comments=True)
            if "roadwork" in words:
                yield page.name, words[words.index("roadwork") + 1 :]


def keys(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from keys(inner)
        else:
            yield field.alias or name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
    local = [target for target in targets if not target.startswith("https://")]
    assert [target for target in local if not (page.parent / target).exists()] == []


def test_commands_and_their_options_exist() -> None:
    from cli.app import app

    found = list(commands())
    assert {"config", "demo", "doctor", "predict", "report"} <= {words[0] for _, words in found}
    for page, words in found:
        command = typer.main.get_command(app)
        while hasattr(command, "commands"):
            name = words.pop(0)
            assert name in command.commands, (page, name)
            command = command.commands[name]
        known = {option for parameter in command.params for option in parameter.opts}
        assert [word for word in words if word.startswith("--") and word not in known] == [], page


def test_settings_in_the_pages_are_valid() -> None:
    found = [block for page in PAGES for block in blocks(page, "yaml")]
    assert found
    for block in found:
        assert parse_settings(yaml.safe_load(block)) != Settings()


def test_the_references_name_everything() -> None:
    page = (DOCS / "settings.md").read_text()
    named = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    kinds = get_args(get_args(Source)[0])
    assert {name for model in (Settings, *kinds) for name in keys(model)} <= named
    variables = (DOCS / "environment.md").read_text()
    assert all(f"`ROADWORK_{name.upper()}`" in variables for name in Environment.model_fields)
