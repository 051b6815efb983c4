"""Splits: whole groups are given to roles so that labels and sources are spread alike."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from roadwork.data.columns import encode
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
from roadwork.errors import ConfigError, DataError
from roadwork.settings import SplitSettings

__all__ = ["PolicySplits", "Splits", "assign_roles", "cut", "cut_policy"]

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

    def hashes(self) -> dict[str, str]:
        """SHA-256 of every set by role: of its ids, labels and groups, not of where they lie."""
        return _hashes(self.each())


@dataclass(frozen=True)
class PolicySplits:
    """The sets of a manifest on which nothing is trained: they fit the policy, and judge it."""

    calibrate: CalibrationSet
    conformal: ConformalSet
    test: TestSet

    def each(self) -> tuple[SampleSet, ...]:
        """All three, in the order in which they are used."""
        return (self.calibrate, self.conformal, self.test)

    def hashes(self) -> dict[str, str]:
        """As :meth:`Splits.hashes`."""
        return _hashes(self.each())


def assign_roles(table: pa.Table, settings: SplitSettings, seed: int) -> NDArray[np.str_]:
    """Give every row a role; rows of one group get the same.

    Groups are placed one at a time, those richest in rare strata first, each where it best
    reduces the distance to the wanted counts. A stratum is a label within a source; the pairs of
    a positive and a negative within a group count as one more, so that every role that can have
    groups of both labels gets some. Equal choices are decided by the seed.

    With ``held_out_sources`` (leave-one-source-out) every group that has an image of such a source
    is the test set, whole, and nothing else is; the other roles share the rest in the proportions
    of their shares.

    Returns:
        Role names, shape (N,).

    Raises:
        ConfigError: a held-out source does not occur, or all sources are held out.
        DataError: a role would lack one of the classes.
    """
    groups = _Groups.of(table)
    shares = {
        Role.TRAIN: 1 - settings.select - settings.calibrate - settings.conformal - settings.test,
        Role.SELECT: settings.select,
        Role.CALIBRATE: settings.calibrate,
        Role.CONFORMAL: settings.conformal,
        Role.TEST: settings.test,
    }
    roles = list(shares)
    chosen = np.full(len(groups.counts), roles.index(Role.TEST))
    free = np.ones(len(chosen), dtype=bool)
    if settings.held_out_sources:
        free = ~_held_out(groups, settings.held_out_sources)
        rest = 1 - shares.pop(Role.TEST)
        shares = {role: share / rest for role, share in shares.items()}
    chosen[free] = _place(groups.counts[free], list(shares.values()), seed)
    assigned = np.array(roles)[chosen[groups.of_row]]
    _check_classes(groups, chosen, list(Role), settings.held_out_sources)
    return assigned


def cut(manifest: Manifest, settings: SplitSettings, seed: int) -> Splits:
    """The five sets of a manifest.

    Raises:
        DataError: a set would be empty or hold one class only.
    """
    roles = assign_roles(manifest.table, settings, seed)
    sets = {role: SETS[role](manifest.table.filter(pa.array(roles == role))) for role in Role}
    return Splits(*(sets[role] for role in Role))  # pyright: ignore[reportArgumentType]


def cut_policy(manifest: Manifest, settings: SplitSettings, seed: int) -> PolicySplits:
    """Three sets of a manifest of which nothing is trained on, in the proportions of their shares.

    Groups are placed as in :func:`assign_roles`. ``settings.select`` is not looked at.

    Raises:
        ConfigError: sources are to be held out, which has no meaning without a training set.
        DataError: a set would be empty or hold one class only.
    """
    if settings.held_out_sources:
        raise ConfigError(
            "split.held_out_sources holds sources out of training, and nothing is trained here: "
            "leave it out"
        )
    shares = {
        Role.CALIBRATE: settings.calibrate,
        Role.CONFORMAL: settings.conformal,
        Role.TEST: settings.test,
    }
    roles, whole = list(shares), sum(shares.values())
    groups = _Groups.of(manifest.table)
    chosen = _place(groups.counts, [share / whole for share in shares.values()], seed)
    _check_classes(groups, chosen, roles)
    of_row = chosen[groups.of_row]
    tables = [manifest.table.filter(pa.array(of_row == number)) for number in range(len(roles))]
    return PolicySplits(CalibrationSet(tables[0]), ConformalSet(tables[1]), TestSet(tables[2]))


def _hashes(parts: Iterable[SampleSet]) -> dict[str, str]:
    found = {}
    for part in parts:
        digest = hashlib.sha256(part.sample_ids.tobytes())
        digest.update(part.labels.tobytes())
        digest.update("\n".join(part.groups.tolist()).encode())
        found[str(part.role)] = digest.hexdigest()
    return found


@dataclass(frozen=True)
class _Groups:
    """The groups of a table, in the order of their names, and what they hold.

    Attributes:
        of_row: number of the group of every row, shape (N,).
        labels: class index of every row, shape (N,).
        sources: the names of the sources, sorted.
        strata: source (its number) and label of every stratum, shape (S, 2).
        counts: for every group its negatives, its positives, their product, and its images of
            every stratum, shape (G, 3 + S).
    """

    of_row: NDArray[np.int64]
    labels: NDArray[np.int64]
    sources: list[str]
    strata: NDArray[np.int64]
    counts: NDArray[np.float64]

    @classmethod
    def of(cls, table: pa.Table) -> _Groups:
        names, of_row = encode(table.column("group_id"))
        sources, source = encode(table.column("source"))
        labels = table.column("label").to_numpy().astype(np.int64)
        classes = int(labels.max(initial=0)) + 1
        present, stratum = np.unique(source * classes + labels, return_inverse=True)
        width = len(present)
        # Labels alone come first: they matter even where each source has one class only.
        counts = np.zeros((len(names), 3 + width))
        for column, where in ((0, labels < 1), (1, labels > 0)):
            counts[:, column] = np.bincount(of_row[where], minlength=len(names))
        counts[:, 2] = counts[:, 0] * counts[:, 1]
        cells = np.bincount(of_row * width + stratum, minlength=len(names) * width)
        counts[:, 3:] = cells.reshape(len(names), width)
        strata = np.stack([present // classes, present % classes], axis=1)
        return cls(of_row, labels, sources, strata, counts)


def _place(counts: NDArray[np.float64], shares: list[float], seed: int) -> NDArray[np.int64]:
    """The number of the share that every group is given to, shape (G,).

    The distance to the wanted counts is the sum over columns ``c`` of ``s (h_c / s - 1)^2`` over
    the roles of share ``s``, where ``h_c`` is the part of column ``c`` that the role has:
    weighting by the share makes a small role as exact, for its size, as a large one. A group that
    adds ``r_c`` lowers it by the sum of ``r_c (2 - (2 h_c + r_c) / s)``.
    """
    relative = counts / np.maximum(counts.sum(axis=0), 1)
    rng = np.random.default_rng(seed)
    order = np.lexsort((rng.random(len(counts)), -relative.max(axis=1)))
    ties = (1e-9 * rng.random((len(counts), len(shares)))).tolist()
    # Few numbers a group: plain floats are several times faster here than small arrays.
    rows, columns = np.nonzero(relative[order])
    ends = np.searchsorted(rows, np.arange(len(order)), side="right").tolist()
    cells = list(zip(columns.tolist(), relative[order[rows], columns].tolist(), strict=True))
    weights = [1 / share for share in shares]
    have = [[0.0] * len(shares) for _ in range(counts.shape[1])]
    chosen = []
    start = 0
    for gains, end in zip(ties, ends, strict=True):
        group = cells[start:end]
        start = end
        for column, part in group:
            for role, held in enumerate(have[column]):
                gains[role] += part * (2 - (2 * held + part) * weights[role])
        best = gains.index(max(gains))
        chosen.append(best)
        for column, part in group:
            have[column][best] += part
    placed = np.empty(len(counts), dtype=np.int64)
    placed[order] = chosen
    return placed


def _held_out(groups: _Groups, names: tuple[str, ...]) -> NDArray[np.bool_]:
    """Groups with an image of a held-out source, shape (G,)."""
    unknown = [name for name in names if name not in groups.sources]
    if unknown:
        raise ConfigError(
            f"split.held_out_sources names {', '.join(unknown)}, which no image comes from; the "
            f"sources are {', '.join(groups.sources)}"
        )
    wanted = [groups.sources.index(name) for name in names]
    columns = 3 + np.flatnonzero(np.isin(groups.strata[:, 0], wanted))
    held = groups.counts[:, columns].sum(axis=1) > 0
    if held.all():
        raise ConfigError(
            f"split.held_out_sources leaves nothing to train on: every group holds an image of "
            f"{', '.join(names)}. Hold out fewer sources."
        )
    return held


def _check_classes(
    groups: _Groups,
    chosen: NDArray[np.int64],
    roles: Sequence[Role],
    held_out: tuple[str, ...] = (),
) -> None:
    classes = np.unique(groups.labels).tolist()
    if len(classes) < 2:
        raise DataError("all images have the same label: a classifier needs both classes")
    role_of_row = chosen[groups.of_row]
    for number, role in enumerate(roles):
        present = np.unique(groups.labels[role_of_row == number]).tolist()
        missing = [label for label in classes if label not in present]
        if missing and held_out and role is Role.TEST:
            raise DataError(
                f"the held-out sources ({', '.join(held_out)}) have no image of class "
                f"{missing[0]}, so that nothing could be measured on them: hold out a source of "
                "that class as well"
            )
        if missing:
            occurs = {
                label: len(np.unique(groups.of_row[groups.labels == label])) for label in classes
            }
            raise DataError(
                f"the {role} set would have no image of class {missing[0]}: the classes "
                f"occur in {occurs} groups (class: groups), too few for {len(roles)} sets; add "
                "groups of that class, or enlarge the share of that set under `split`"
            )
