"""Contracts between the roles of data, checked where data meets a fitted artifact.

The splits are validated once, but a step can be called with anything: these functions are called
at the door of fitting and judging, and refuse what must not meet.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from roadwork.data.exposure import Exposed, common, require_unexposed
from roadwork.data.hamming import near_pairs
from roadwork.data.manifest import (
    CalibrationSet,
    ConformalSet,
    SampleSet,
    SelectSet,
    TestSet,
    TrainSet,
)
from roadwork.errors import LeakageError

__all__ = [
    "require_disjoint",
    "require_distinct_looks",
    "require_role",
    "validate_final_eval",
    "validate_model_selection",
    "validate_policy_fitting",
]

_SHOWN = 5


def validate_model_selection(train: TrainSet, select: SelectSet) -> None:
    """Models are fitted on one set and chosen on another that shares nothing with it.

    Raises:
        LeakageError: a set of another role, or a shared image or group.
    """
    require_role(train, "fit a model", TrainSet)
    require_role(select, "choose between models", SelectSet)
    require_disjoint(train, select)


def validate_policy_fitting(
    artifacts: Sequence[Exposed], dataset: CalibrationSet | ConformalSet
) -> None:
    """Calibrators and thresholds are fitted on data that nothing beneath them has seen.

    Args:
        artifacts: what the policy is fitted on top of: the classifier, the calibrator.
        dataset: the data about to be used.

    Raises:
        LeakageError: a set of another role, or one that an artifact was exposed to.
    """
    purpose = "conformalise" if isinstance(dataset, ConformalSet) else "calibrate"
    require_role(dataset, purpose, CalibrationSet, ConformalSet)
    for artifact in artifacts:
        require_unexposed(artifact, dataset, purpose)


def validate_final_eval(artifacts: Sequence[Exposed], test: TestSet) -> None:
    """The final evaluation sees data that no part of the model has seen.

    Raises:
        LeakageError: a set of another role, or one that an artifact was exposed to.
    """
    require_role(test, "evaluate", TestSet)
    for artifact in artifacts:
        require_unexposed(artifact, test, "evaluate")


def require_role(dataset: SampleSet, purpose: str, *roles: type[SampleSet]) -> None:
    """Refuse a data set of another role.

    Args:
        dataset: the data about to be used.
        purpose: what it is about to be used for, a phrase such as ``"evaluate"``.
        roles: the types that may be used so.

    Raises:
        LeakageError: naming the role that is due and the one that was given.
    """
    if isinstance(dataset, roles):
        return
    due = " or ".join(f"the {role.role} set ({role.__name__})" for role in roles)
    given = getattr(dataset, "role", None)
    shown = f"the {given} set" if given is not None else "something else"
    raise LeakageError(
        f"to {purpose} takes {due}, but {shown} ({type(dataset).__name__}) was given: the roles "
        "of data are not exchangeable. Pass the set that the splits made for this purpose."
    )


def require_disjoint(a: SampleSet, b: SampleSet) -> None:
    """Refuse two sets that share an image or a group.

    Raises:
        LeakageError: naming the shared files and groups.
    """
    ours, theirs = a.ids, b.ids
    samples = common(ours.samples, theirs.samples)
    groups = common(ours.groups, theirs.groups)
    if not len(samples) and not len(groups):
        return
    files, names = b.name_overlap(samples, groups)
    raise LeakageError(
        f"the {a.role} set and the {b.role} set share {len(samples)} images{_named(files)} and "
        f"{len(groups)} groups{_named(names)}: cut the splits again by group"
    )


def require_distinct_looks(a: SampleSet, b: SampleSet, distance: int) -> None:
    """Refuse two sets in which an image of one looks like an image of the other.

    Args:
        a: one set.
        b: another set.
        distance: perceptual hashes that differ in at most so many of 64 bits look alike.

    Raises:
        LeakageError: naming the pairs.
    """
    hashes = np.concatenate([_hashes(a), _hashes(b)])
    border = len(a)
    pairs = near_pairs(hashes, distance, apart=np.arange(len(hashes)) < border)
    if not len(pairs):
        return
    shown = pairs[: _SHOWN + 1]
    ours = a.table.column("file").take(pa.array(shown[:, 0])).to_pylist()
    theirs = b.table.column("file").take(pa.array(shown[:, 1] - border)).to_pylist()
    names = [f"{one} and {other}" for one, other in zip(ours, theirs, strict=True)]
    raise LeakageError(
        f"{len(pairs)} pairs of an image of the {a.role} set and one of the {b.role} set look alike"
        f"{_named(names)}: at most {distance} bits of their perceptual hashes differ. Give them "
        "the same group and cut the splits again."
    )


def _hashes(dataset: SampleSet) -> np.ndarray:
    return dataset.table.column("phash").to_numpy().astype(np.uint64)


def _named(names: list[str]) -> str:
    if not names:
        return ""
    more = ", …" if len(names) > _SHOWN else ""
    return f" ({', '.join(names[:_SHOWN])}{more})"
