"""From the settings of an ablation to its grid: everything is checked before anything runs."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from itertools import product
from typing import Any

from roadwork.ablation.grid import Axis, Grid, Variant
from roadwork.errors import ConfigError
from roadwork.evaluation.holm import least_resamples
from roadwork.fingerprint import fingerprint
from roadwork.settings import Settings, parse_settings, resolve
from roadwork.settings.ablation import AblationSettings, Scalar, label_of

__all__ = ["expand"]

_PARTS = ("data", "backbone", "pretrain", "finetune", "compute")
_VARIED = ("size", *_PARTS[1:])
_SAME_DATA = "all variants are judged on the same images: run an ablation of its own for other data"
_REFUSED: Mapping[str, str] = {
    "seed": "list the seeds under `seeds`",
    "data": _SAME_DATA,
    "split": _SAME_DATA,
}


def expand(tree: Mapping[str, Any], wanted: AblationSettings) -> Grid:
    """Every variant of a grid, each checked and resolved; nothing is run.

    Args:
        tree: the base settings as written, with ``auto`` not yet filled in: each variant fills in
            its own.
        wanted: the grid.

    Raises:
        ConfigError: an unknown key, an impossible value or combination, an axis that may not be
            varied, an exclusion or a baseline that names nothing, or too few resamples for so many
            comparisons; the message names the axis and the key.
    """
    parse_settings(tree)
    choices = {axis: _choices(axis, values) for axis, values in wanted.axes.items()}
    _refuse_clashes(choices)
    shorts = _short_names(list(choices))
    axes = tuple(
        Axis(key=key, short=shorts[key], values=tuple(values)) for key, values in choices.items()
    )
    for number, rule in enumerate(wanted.exclude):
        _require_known(f"ablation.exclude.{number}", rule, axes)
    _require_known("ablation.baseline", wanted.baseline, axes)
    variants: list[Variant] = []
    number_of: dict[str, int] = {}
    combinations: list[tuple[tuple[str, ...], int]] = []
    excluded = 0
    for labels in product(*(axis.values for axis in axes)):
        if any(_matches(rule, labels, axes) for rule in wanted.exclude):
            excluded += 1
            continue
        variant = _variant(tree, labels, axes, choices)
        identity = _identity(variant.settings)
        if identity in number_of:
            first = variants[number_of[identity]]
            variants[number_of[identity]] = first.model_copy(
                update={"also": (*first.also, variant.name)}
            )
        else:
            number_of[identity] = len(variants)
            variants.append(variant)
        combinations.append((labels, number_of[identity]))
    grid = Grid(
        axes=axes,
        variants=tuple(variants),
        combinations=tuple(combinations),
        excluded=excluded,
        baseline=_baseline(wanted.baseline, axes, combinations),
        seeds=wanted.seeds,
        folds=wanted.folds,
        metric=wanted.metric,
        resamples=wanted.bootstrap,
    )
    least = least_resamples(len(variants) - 1)
    if wanted.bootstrap < least:
        raise ConfigError(
            f"ablation.bootstrap: {wanted.bootstrap} resamples cannot tell {len(variants) - 1} "
            f"comparisons from chance after Holm's adjustment: set at least {least}"
        )
    if grid.folds is not None and variants[0].settings.data.shards.to is not None:
        raise ConfigError(
            "ablation.folds: the folds are cut from single files, so data.shards.to cannot be "
            "used with them: leave one of the two out"
        )
    return grid


def _choices(axis: str, values: Any) -> dict[str, dict[str, Any]]:
    """Overrides of every value of an axis, by label."""
    if isinstance(values, Mapping):
        return {name: dict(overrides) for name, overrides in values.items()}
    return {label_of(value): {axis: value} for value in values}


def _refuse_clashes(choices: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
    """Every key belongs to a part that may be varied, and to one axis."""
    seen: dict[str, str] = {}
    for axis, values in choices.items():
        keys = {key for overrides in values.values() for key in overrides}
        for key in sorted(keys):
            root = key.partition(".")[0]
            if root not in _VARIED:
                reason = _REFUSED.get(root, f"an ablation varies {', '.join(_VARIED)}")
                raise ConfigError(f"ablation.axes.{axis} sets {key}: {reason}")
            for other, owner in seen.items():
                if owner != axis and (_within(key, other) or _within(other, key)):
                    raise ConfigError(
                        f"the axes {owner} and {axis} of the ablation both set {min(key, other)}: "
                        "the second would undo the first; merge them into one"
                    )
        seen |= dict.fromkeys(keys, axis)


def _within(key: str, other: str) -> bool:
    return f"{key}.".startswith(f"{other}.")


def _short_names(keys: list[str]) -> dict[str, str]:
    """Keys without their first part and a trailing ``.name``, where that leaves them distinct."""
    short = {}
    for key in keys:
        inner = key.removesuffix(".name")
        short[key] = inner.partition(".")[2].removeprefix("views.") or inner
    taken = list(short.values())
    return {key: name if taken.count(name) == 1 else key for key, name in short.items()}


def _variant(
    tree: Mapping[str, Any],
    labels: tuple[str, ...],
    axes: tuple[Axis, ...],
    choices: Mapping[str, Mapping[str, Mapping[str, Any]]],
) -> Variant:
    name = ", ".join(f"{axis.short} {label}" for axis, label in zip(axes, labels, strict=True))
    parts = [choices[axis.key][label] for axis, label in zip(axes, labels, strict=True)]
    overrides = {key: value for part in parts for key, value in part.items()}
    try:
        settings = _resolved(tree, overrides)
    except ConfigError as error:
        blamed = _blamed(tree, axes, labels, parts)
        raise ConfigError(f"{blamed} of the ablation cannot be ({name}): {error}") from None
    return Variant(name=name, labels=labels, overrides=overrides, settings=settings)


def _blamed(
    tree: Mapping[str, Any],
    axes: tuple[Axis, ...],
    labels: tuple[str, ...],
    parts: list[Mapping[str, Any]],
) -> str:
    """The one value that cannot be by itself, or the whole combination."""
    for axis, label, overrides in zip(axes, labels, parts, strict=True):
        try:
            _resolved(tree, overrides)
        except ConfigError:
            return f"the value {label} of the axis {axis.key}"
    return f"a combination of the axes {', '.join(axis.key for axis in axes)}"


def _resolved(tree: Mapping[str, Any], overrides: Mapping[str, Any]) -> Settings:
    changed = copy.deepcopy(dict(tree))
    for key, value in overrides.items():
        *path, last = key.split(".")
        node: Any = changed
        for part in path:
            node = node.setdefault(part, {}) if isinstance(node, dict) else None
        if not isinstance(node, dict):
            raise ConfigError(f"{key}: there is no such key; {'.'.join(path)} holds no others")
        node[last] = value
    return resolve(parse_settings(changed)).only(*_PARTS)


def _identity(settings: Settings) -> str:
    """Equal for settings that train the same: without the dial, whose word is in the values."""
    tree = settings.model_dump(mode="json", exclude={"size", "seed"})
    if not tree["pretrain"]["enabled"]:
        tree["pretrain"] = False
    return fingerprint(repr(tree))


def _require_known(place: str, rule: Mapping[str, Any], axes: tuple[Axis, ...]) -> None:
    known = {axis.key: axis.values for axis in axes}
    if not rule and place != "ablation.baseline":
        raise ConfigError(f"{place} is empty, and would leave every combination out")
    for key, value in rule.items():
        if key not in known:
            raise ConfigError(f"{place}: there is no axis {key}; known are {', '.join(known)}")
        for item in value if isinstance(value, tuple) else (value,):
            if not any(_is(item, label) for label in known[key]):
                raise ConfigError(
                    f"{place}: the axis {key} has no value {label_of(item)}; it has "
                    f"{', '.join(known[key])}"
                )


def _matches(rule: Mapping[str, Any], labels: tuple[str, ...], axes: tuple[Axis, ...]) -> bool:
    of_axis = {axis.key: label for axis, label in zip(axes, labels, strict=True)}
    return all(
        any(_is(item, of_axis[key]) for item in (value if isinstance(value, tuple) else (value,)))
        for key, value in rule.items()
    )


def _is(value: Scalar, label: str) -> bool:
    """Whether a rule's value means a label; a bare ``on`` or ``off`` of YAML is a name, too."""
    words = {True: "on", False: "off"}
    return label == label_of(value) or (isinstance(value, bool) and label == words[value])


def _baseline(
    rule: Mapping[str, Scalar],
    axes: tuple[Axis, ...],
    combinations: list[tuple[tuple[str, ...], int]],
) -> int:
    if not combinations:
        raise ConfigError("ablation.exclude leaves no combination")
    labels = tuple(
        next((label for label in axis.values if _is(rule[axis.key], label)), "")
        if axis.key in rule
        else axis.values[0]
        for axis in axes
    )
    for found, number in combinations:
        if found == labels:
            return number
    raise ConfigError(
        f"the baseline of the ablation ({', '.join(labels)}) is excluded: name another under "
        "ablation.baseline"
    )
