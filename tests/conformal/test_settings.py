"""Settings of prediction sets: no dead keys, and errors that name the key and the method."""

from __future__ import annotations

from typing import Any

import pytest

from roadwork.errors import ConfigError
from roadwork.settings import parse_settings
from roadwork.settings.conformal import USED_KEYS, ConformalSettings
from tests.conformal.methods import METHODS, NEEDED, asked

VALUES: dict[str, Any] = {
    "delta": 0.1,
    "label_noise": 0.05,
    "slice": "weather",
    "selection": 0.5,
    "score": "lac",
    "randomised": True,
    "penalty": 0.1,
    "k_reg": 1,
    "weight": 0.1,
}


@pytest.mark.parametrize("method", METHODS)
def test_a_key_that_the_method_does_not_use_is_refused(method: str) -> None:
    of_score = {"aps": {"randomised"}, "raps": {"randomised"}, "saps": {"randomised"}}
    used = USED_KEYS[method] | set(NEEDED[method]) | of_score.get(method, set())
    for key, value in VALUES.items():
        tree = {"conformal": {"method": method, **NEEDED[method], key: value}}
        if key in used - {"label_noise"}:
            assert parse_settings(tree).conformal.method == method
        elif key not in used:
            with pytest.raises(
                ConfigError, match=rf"{key} is not used by conformal\.method: {method}: leave"
            ):
                parse_settings(tree)


@pytest.mark.parametrize("method", [name for name in METHODS if NEEDED[name]])
def test_a_key_that_is_needed_is_named(method: str) -> None:
    for key in NEEDED[method]:
        tree = {name: value for name, value in NEEDED[method].items() if name != key}
        with pytest.raises(ConfigError, match=rf"{key} is needed by conformal\.method: {method}"):
            parse_settings({"conformal": {"method": method, **tree}})


@pytest.mark.parametrize(
    ("tree", "fault"),
    [
        ({"method": "crcp", "label_noise": 0.05}, "is a matrix"),
        ({"method": "lac", "label_noise": [[0.9, 0.1], [0.1, 0.9]]}, "is one number"),
        ({"method": "lac", "label_noise": 0.1}, "alpha 0.1 must exceed label_noise 0.1"),
        ({"method": "scrc", "selection": 0.5, "groups": "largest"}, "largest does not go"),
        ({"method": "mondrian", "score": "raps", "k_reg": 1}, "penalty is needed by .*score: raps"),
        ({"method": "mondrian", "score": "aps", "weight": 1.0}, "weight is not used by .*aps"),
        ({"method": "guess"}, "method"),
    ],
)
def test_impossible_combinations_are_explained(tree: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        parse_settings({"conformal": tree})


def test_the_settings_survive_a_round_trip() -> None:
    for method in METHODS:
        settings = asked(method)
        assert ConformalSettings.model_validate(settings.model_dump()) == settings
        assert ConformalSettings.model_validate_json(settings.model_dump_json()) == settings
