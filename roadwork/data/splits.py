"""Splits: whole groups are given to roles so that labels and sources are spread alike."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from roadwork.data.manifest import (
    CalibrationSet,
    ConformalSet,
    Manifest,
    Role,
    SampleSet,
    SelectSet,
    TestSet,
    TrainSet,
)
from roadwork.errors import DataError
from roadwork.settings import SplitSettings

__all__ = ["Splits", "assign_roles", "cut"]

SETS: dict[Role, type[SampleSet]] = {
    Role.TRAIN: TrainSet,
    Role.SELECT: SelectSet,
    Role.CALIBRATE: CalibrationSet,
    Role.CONFORMAL: ConformalSet,
    Role.TEST: TestSet,
}


@dataclass(frozen=True)
class Splits:
    """The five sets of one manifest."""

    train: TrainSet
    select: SelectSet
    calibrate: CalibrationSet
    conformal: ConformalSet
    test: TestSet

    def each(self) -> tuple[SampleSet, ...]:
        """All five, in the order in which the pipeline uses them."""
        return (self.train, self.select, self.calibrate, self.conformal, self.test)


def assign_roles(table: pa.Table, settings: SplitSettings, seed: int) -> NDArray[np.str_]:
    """Give every row a role; rows of one group get the same.

    Groups are placed one at a time, those richest in rare strata first, each where it best
    reduces the distance to the wanted counts. A stratum is a label within a source; the pairs of
    a positive and a negative within a group count as one more, so that every role that can have
    groups of both labels gets some. Equal choices are decided by the seed.

    Returns:
        Role names, shape (N,).

    Raises:
        DataError: a role would lack one of the classes.
    """
    shares = np.array(
        [
            1 - settings.select - settings.calibrate - settings.conformal - settings.test,
            settings.select,
            settings.calibrate,
            settings.conformal,
            settings.test,
        ]
    )
    names, counts = _group_counts(table)
    scale = np.maximum(counts.sum(axis=0), 1)
    relative = counts / scale
    rng = np.random.default_rng(seed)
    order = np.lexsort((rng.random(len(names)), -relative.max(axis=1)))
    have = np.zeros((len(shares), counts.shape[1]))
    role_of: dict[str, int] = {}
    for index in order:
        # Weighting by the share makes a small role as exact, for its size, as a large one.
        after = have + relative[index]
        gain = ((have / shares[:, None] - 1) ** 2 - (after / shares[:, None] - 1) ** 2) * shares[
            :, None
        ]
        role = int(np.argmax(gain.sum(axis=1) + 1e-9 * rng.random(len(shares))))
        have[role] += relative[index]
        role_of[names[index]] = role
    roles = list(Role)
    assigned = np.array([roles[role_of[name]] for name in table.column("group_id").to_pylist()])
    _check_classes(table, assigned)
    return assigned


def cut(manifest: Manifest, settings: SplitSettings, seed: int) -> Splits:
    """The five sets of a manifest.

    Raises:
        DataError: a set would be empty or hold one class only.
    """
    roles = assign_roles(manifest.table, settings, seed)
    sets = {role: SETS[role](manifest.table.filter(pa.array(roles == role))) for role in Role}
    return Splits(*(sets[role] for role in Role))  # pyright: ignore[reportArgumentType]


def _group_counts(table: pa.Table) -> tuple[list[str], NDArray[np.float64]]:
    groups = table.column("group_id").to_pylist()
    labels = table.column("label").to_pylist()
    sources = table.column("source").to_pylist()
    # Labels alone come first: they matter even where each source has one class only.
    strata = sorted({(source, label) for source, label in zip(sources, labels, strict=True)})
    column = {stratum: index for index, stratum in enumerate(strata)}
    width = len(strata) + 3
    counts: dict[str, NDArray[np.float64]] = defaultdict(lambda: np.zeros(width))
    for group, label, source in zip(groups, labels, sources, strict=True):
        counts[group][min(label, 1)] += 1
        counts[group][3 + column[(source, label)]] += 1
    for row in counts.values():
        row[2] = row[0] * row[1]
    names = sorted(counts)
    return names, np.stack([counts[name] for name in names])


def _check_classes(table: pa.Table, roles: NDArray[np.str_]) -> None:
    labels = np.asarray(table.column("label").to_pylist())
    classes = np.unique(labels)
    if len(classes) < 2:
        raise DataError("all images have the same label: a classifier needs both classes")
    for role in Role:
        missing = set(classes.tolist()) - set(labels[roles == role].tolist())
        if missing:
            names = table.column("group_id").to_pylist()
            groups = {
                int(c): len({name for name, y in zip(names, labels, strict=True) if y == c})
                for c in classes
            }
            raise DataError(
                f"the {role} set would have no image of class {sorted(missing)[0]}: the classes "
                f"occur in {groups} groups (class: groups), too few for five sets; add groups of "
                "that class, or enlarge the share of that set under `split`"
            )
