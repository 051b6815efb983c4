"""What ``track.wandb: auto`` becomes: nothing is ever sent without a key."""

from __future__ import annotations

import pytest

from roadwork.errors import ConfigError
from roadwork.settings import parse_settings, resolve


@pytest.mark.parametrize(
    ("variables", "wanted", "mode"),
    [
        ({}, "auto", "off"),
        ({"WANDB_API_KEY": "k"}, "auto", "online"),
        ({"WANDB_API_KEY": ""}, "auto", "off"),
        ({"WANDB_MODE": "offline"}, "auto", "offline"),
        ({"WANDB_MODE": "dryrun"}, "auto", "offline"),
        ({"WANDB_API_KEY": "k", "WANDB_MODE": "offline"}, "auto", "offline"),
        ({"WANDB_API_KEY": "k", "WANDB_MODE": "disabled"}, "auto", "off"),
        ({"WANDB_API_KEY": "k", "WANDB_MODE": "online"}, "auto", "online"),
        ({"WANDB_API_KEY": "k"}, "off", "off"),
        ({"WANDB_API_KEY": "k"}, False, "off"),
        ({}, "offline", "offline"),
        ({"WANDB_MODE": "disabled", "WANDB_API_KEY": "k"}, "online", "online"),
    ],
)
def test_auto_follows_the_variables(
    variables: dict[str, str], wanted: object, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    settings = resolve(parse_settings({"track": {"wandb": wanted}}))
    assert settings.track.wandb == mode
    assert "k" not in settings.model_dump(mode="json")["track"].values()


@pytest.mark.parametrize(("wanted", "mode"), [("online", None), ("auto", "online")])
def test_online_without_a_key_is_an_error(
    wanted: str, mode: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if mode is not None:
        monkeypatch.setenv("WANDB_MODE", mode)
    with pytest.raises(ConfigError, match=r"track\.wandb.*WANDB_API_KEY is empty"):
        resolve(parse_settings({"track": {"wandb": wanted}}))


def test_an_unknown_mode_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "shared")
    with pytest.raises(ConfigError, match="WANDB_MODE is 'shared'"):
        resolve(parse_settings({}))
