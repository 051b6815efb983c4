"""Settings of a recalibration: which bundle, and what becomes of data that it has seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, ValidationError

from roadwork.errors import ConfigError
from roadwork.settings.strict import Strict
from roadwork.settings.tree import Settings

__all__ = ["TAKEN", "RecalibrateSettings", "parse_recalibrate", "require_no_training"]

TAKEN: tuple[str, ...] = (
    "name",
    "seed",
    "runs",
    "data",
    "split",
    "calibrate",
    "conformal",
    "evaluate",
    "track",
    "register",
    "promote",
    "deploy",
)
"""Keys of the settings that a recalibration takes from its run; all others are the bundle's."""


class RecalibrateSettings(Strict):
    """What is recalibrated, beside the settings of the run (data, split, calibrate, …)."""

    champion: str = Field(
        default="champion",
        min_length=1,
        description="Alias, version or NAME@ALIAS in the registry, or the folder of a bundle.",
    )
    seen: Literal["quarantine", "raise"] = Field(
        default="quarantine",
        description="New photographs that the bundle has seen, and all of their group: list them "
        "and go on without, or stop.",
    )


def parse_recalibrate(tree: Mapping[str, Any] | None) -> RecalibrateSettings:
    """Check a mapping against :class:`RecalibrateSettings`.

    Raises:
        ConfigError: one line per fault, each naming the key, what is wrong and what is allowed.
    """
    try:
        return RecalibrateSettings.model_validate(tree or {})
    except ValidationError as error:
        lines = [_explain(fault) for fault in error.errors()]
        raise ConfigError("the recalibration is not valid:\n  " + "\n  ".join(lines)) from None


def _explain(fault: Any) -> str:
    key = ".".join(["recalibrate", *(str(part) for part in fault["loc"])])
    if fault["type"] == "extra_forbidden":
        known = ", ".join(RecalibrateSettings.model_fields)
        return f"{key}: there is no such key; known are {known}"
    return f"{key}: {fault['msg']} (got {fault['input']!r})"


def require_no_training(tree: Mapping[str, Any] | None) -> None:
    """Refuse settings that a recalibration would not look at.

    Raises:
        ConfigError: naming them.
    """
    known = {field.alias or name for name, field in Settings.model_fields.items()}
    idle = sorted(set(tree or {}) & known - set(TAKEN))
    if idle:
        raise ConfigError(
            f"settings.{', settings.'.join(idle)}: a recalibration trains and exports nothing, "
            "and takes these from the bundle: leave them out. It looks at "
            f"{', '.join(TAKEN)}"
        )
