"""Settings of an ablation: which settings are varied, and how the variants are compared."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator

from roadwork.errors import ConfigError
from roadwork.settings.strict import Strict

__all__ = ["AblationSettings", "Scalar", "label_of", "parse_ablation"]

Scalar = str | int | float | bool | None

_AXIS = re.compile(r"[\w .:-]{1,200}")
"""MLflow has parameters of these names, and would refuse others after all cells are trained."""

Values = tuple[Scalar, ...]
Named = Mapping[str, Mapping[str, Any]]


class AblationSettings(Strict):
    """A grid over the settings of training; data and splits are the same for all of it."""

    axes: Mapping[str, Values | Named] = Field(
        min_length=1,
        description="What is varied: a dotted key of the settings with a list of values, or a "
        "name of your own with named values, each a mapping of dotted keys to what they are set "
        "to.",
    )
    exclude: tuple[Mapping[str, Scalar | tuple[Scalar, ...]], ...] = Field(
        default=(),
        description="Combinations left out: each a mapping of axes to a value or a list of values.",
    )
    baseline: Mapping[str, Scalar] = Field(
        default={},
        description="What all others are compared with: a value for an axis; the first of every "
        "axis that is not named.",
    )
    seeds: tuple[Annotated[int, Field(ge=0, lt=2**31)], ...] = Field(
        default=(0, 1, 2), min_length=1, description="Every variant is trained with each of them."
    )
    folds: Annotated[int, Field(ge=3, le=20)] | None = Field(
        default=None,
        description="Grouped cross-validation over TRAIN and VAL_SELECT together in so many "
        "folds; null: train on TRAIN, judge on VAL_SELECT.",
    )
    metric: Literal["nll", "auroc", "mcc"] = Field(
        default="nll", description="What decides; the others are shown."
    )
    bootstrap: Annotated[int, Field(ge=100)] = Field(
        default=2000, description="Resamples of whole groups."
    )

    @field_validator("axes", mode="before")
    @classmethod
    def _one_of_two_forms(cls, value: object) -> object:
        if not isinstance(value, Mapping):
            return value
        return {axis: _values(str(axis), given) for axis, given in value.items()}

    @field_validator("axes")
    @classmethod
    def _each_value_once(cls, value: Mapping[str, Any]) -> Mapping[str, Any]:
        for axis, values in value.items():
            if not _AXIS.fullmatch(axis):
                raise ValueError(
                    f"the name {axis!r} of an axis cannot be kept by MLflow: use up to 200 "
                    "letters, digits, spaces and the characters _ . : -"
                )
            labels = [label_of(item) for item in values]
            again = sorted({label for label in labels if labels.count(label) > 1})
            if again:
                raise ValueError(f"the axis {axis} holds {', '.join(again)} more than once")
        return value

    @field_validator("seeds")
    @classmethod
    def _each_seed_once(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) < len(value):
            raise ValueError("a seed stands there twice: each can count once only")
        return value


def label_of(value: Scalar) -> str:
    """A value of an axis as it is written in tables: as in YAML."""
    words = {True: "true", False: "false", None: "null"}
    if isinstance(value, bool) or value is None:
        return words[value]
    return str(value)


def _values(axis: str, given: object) -> object:
    """The values of one axis, or an error that says which forms there are.

    YAML 1.1 reads the bare names ``on`` and ``off`` as true and false; here they are names.
    """
    if isinstance(given, Mapping) and given:
        wrong = [name for name, part in given.items() if not isinstance(part, Mapping)]
        if not wrong:
            words = {True: "on", False: "off"}
            return {words[k] if isinstance(k, bool) else str(k): v for k, v in given.items()}
        raise ValueError(
            f"the value {wrong[0]} of the axis {axis} must be a mapping of settings, such as "
            "{backbone.views.tiles: 0}"
        )
    if isinstance(given, (list, tuple)) and given:
        if all(item is None or isinstance(item, (str, int, float)) for item in given):
            return given
        raise ValueError(
            f"the axis {axis} lists something that is no plain value: give its values names, each "
            "with a mapping of settings"
        )
    raise ValueError(
        f"the axis {axis} needs a list of values, or names with a mapping of settings each "
        f"(got {given!r})"
    )


def parse_ablation(tree: Mapping[str, Any] | None) -> AblationSettings:
    """Check a mapping against :class:`AblationSettings`.

    Raises:
        ConfigError: one line per fault, each naming the key, what is wrong and what is allowed.
    """
    try:
        return AblationSettings.model_validate(tree or {})
    except ValidationError as error:
        lines = dict.fromkeys(_explain(fault) for fault in error.errors())
        raise ConfigError("the ablation is not valid:\n  " + "\n  ".join(lines)) from None


def _explain(fault: Any) -> str:
    # The names of the forms that a value may have are of no help to people.
    loc = [str(part) for part in fault["loc"] if "[" not in str(part)]
    key = ".".join(["ablation", *loc])
    if fault["type"] == "extra_forbidden":
        return f"{key}: there is no such key; known are {', '.join(AblationSettings.model_fields)}"
    if fault["type"] == "missing":
        return f"{key} is missing: name at least one axis, such as finetune.adapter: [lora, dora]"
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "value_error":
        return f"{key}: {message}"
    return f"{key}: {message} (got {fault['input']!r})"
