"""Reading settings: from a mapping or a YAML file, with errors that name the key and the fix."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from roadwork.errors import ConfigError
from roadwork.settings.data import Source
from roadwork.settings.tree import Settings

__all__ = ["json_schema", "load_settings", "parse_settings"]


def parse_settings(tree: Mapping[str, Any] | None) -> Settings:
    """Check a mapping against the tree.

    Raises:
        ConfigError: one line per fault, each naming the key, what is wrong and what is allowed.
    """
    try:
        return Settings.model_validate(tree or {})
    except ValidationError as error:
        faults = error.errors()
        places = [fault["loc"] for fault in faults]
        # A list whose items are wrong counts as empty too: only the innermost fault helps.
        lines = [
            _explain(fault)
            for fault, place in zip(faults, places, strict=True)
            if not any(other != place and other[: len(place)] == place for other in places)
        ]
        raise ConfigError("the settings are not valid:\n  " + "\n  ".join(lines)) from None


# The union's tags, which pydantic puts into the places of faults, and the classes behind them.
_KINDS = {
    get_args(model.model_fields["kind"].annotation)[0]: model.__name__
    for model in get_args(get_args(Source)[0])
}


def _explain(fault: Any) -> str:
    loc = [str(part) for part in fault["loc"]]
    key = ".".join(part for part in loc if part not in _KINDS and "[" not in part) or "(root)"
    if fault["type"] == "extra_forbidden":
        return f"{key}: there is no such key; known here: {', '.join(_known_keys(loc[:-1]))}"
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "value_error":
        return f"{key}: {message}"
    return f"{key}: {message} (got {fault['input']!r})"


def _known_keys(path: list[str]) -> list[str]:
    """Keys of the settings class at a path of keys and union tags."""
    schema = Settings.model_json_schema()
    node = schema
    for part in path:
        name = _KINDS.get(part)
        if name is None:
            reference = node.get("properties", {}).get(part, {})
            name = reference.get("$ref", "").rpartition("/")[2]
        node = schema["$defs"].get(name, node)
    return sorted(node.get("properties", {}))


def load_settings(path: Path | None) -> Settings:
    """Read settings from a YAML file; the tree may stand under ``parameters.settings``.

    Raises:
        ConfigError: the file is missing, is no YAML mapping, or fails the check.
    """
    import yaml

    if path is None:
        return Settings()
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the settings file {path}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is no valid YAML: {error}") from None
    if tree is not None and not isinstance(tree, dict):
        raise ConfigError(f"{path} must hold a mapping of keys, not a {type(tree).__name__}")
    if tree and "parameters" in tree:
        tree = (tree["parameters"] or {}).get("settings")
    return parse_settings(tree)


def json_schema() -> dict[str, Any]:
    """JSON Schema of the tree, for editors that complete and check the YAML."""
    return Settings.model_json_schema()
