"""Two models on the same images: the paired comparison that a promotion rests on.

A candidate is compared with the champion on images that belong to the test sets of both, so that
neither has seen them. Whole groups (drives) are resampled, and both models are judged on the same
resamples, because the difference of two separate intervals would be far too wide.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray

from roadwork import POSITIVE
from roadwork.calibration.base import check_probabilities
from roadwork.data.exposure import Exposure, Ids, identifiers
from roadwork.data.manifest import SLICES, TestSet
from roadwork.errors import DataError
from roadwork.evaluation.bootstrap import PairedDifference, paired_bootstrap

__all__ = ["LEAST_GROUPS", "TestScores", "UnpairableError", "compare", "pair"]

LEAST_GROUPS = 10
"""With fewer common groups a bootstrap over groups says nothing."""

SCHEMA = pa.schema(
    [
        pa.field("sample_id", pa.string(), nullable=False),
        pa.field("group_id", pa.string(), nullable=False),
        pa.field("label", pa.int8(), nullable=False),
        pa.field("probability", pa.float64(), nullable=False),
    ]
)


_SLICE = "slice."
"""Before the name of a slice column, in the table of test scores."""


class UnpairableError(DataError):
    """There is no fair paired comparison of these two models; the message says why."""


@dataclass(frozen=True)
class TestScores:
    """What one model answered on its own test set.

    Attributes:
        sample_ids: (N,) 64-bit identifiers of the images, without repetition.
        groups: (N,) names of the groups.
        labels: (N,) true classes, 0 or 1.
        probabilities: (N,) P(roadwork), calibrated.
        slices: (N,) values of every slice column in which anything is known; None where unknown.
    """

    __test__ = False  # no test class, whatever pytest thinks of the name

    sample_ids: Ids
    groups: NDArray[np.str_]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    slices: Mapping[str, tuple[str | None, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shapes = {
            part.shape for part in (self.sample_ids, self.groups, self.labels, self.probabilities)
        }
        if len(shapes) != 1 or len(next(iter(shapes))) != 1:
            raise DataError(
                "test scores need one sample id, group, label and probability per image, but have "
                f"the shapes {sorted(shapes)}"
            )
        for name, values in self.slices.items():
            if len(values) != len(self):
                raise DataError(f"the slice column {name} has {len(values)} values for {len(self)}")
        if len(np.unique(self.sample_ids)) != len(self.sample_ids):
            raise DataError("test scores hold an image twice: leave exact copies out first")

    def __len__(self) -> int:
        return len(self.sample_ids)

    @classmethod
    def of(cls, test: TestSet, probabilities: ArrayLike) -> Self:
        """Scores of a test set, from probabilities (N, 2) in its row order.

        Raises:
            DataError: there is not one row of two probabilities per image.
        """
        table = check_probabilities(probabilities)
        if table.shape != (len(test), 2):
            raise DataError(
                f"the probabilities must have shape ({len(test)}, 2), but have {table.shape}"
            )
        columns = {name: tuple(test.column(name)) for name in ("source", *SLICES)}
        return cls(
            sample_ids=test.sample_ids,
            groups=test.groups,
            labels=test.labels,
            probabilities=table[:, POSITIVE],
            slices={name: column for name, column in columns.items() if any(column)},
        )

    def to_table(self) -> pa.Table:
        """One row per image: sample_id (16 hexadecimal digits), group_id, label, probability, and
        the slice columns, as ``slice.NAME``."""
        columns = [
            [f"{int(sample):016x}" for sample in self.sample_ids],
            self.groups.tolist(),
            self.labels.tolist(),
            self.probabilities.tolist(),
        ]
        arrays = [pa.array(column, of.type) for column, of in zip(columns, SCHEMA, strict=True)]
        table = pa.Table.from_arrays(arrays, schema=SCHEMA)
        for name, values in self.slices.items():
            table = table.append_column(_SLICE + name, pa.array(values, pa.string()))
        return table

    @classmethod
    def from_table(cls, table: pa.Table) -> Self:
        """Inverse of :meth:`to_table`.

        Raises:
            DataError: the columns are not those of test scores.
        """
        known = pa.schema(list(table.schema)[: len(SCHEMA)])
        further = list(table.schema)[len(SCHEMA) :]
        named = all(one.name.startswith(_SLICE) and one.type == pa.string() for one in further)
        if known != SCHEMA or not named:
            raise DataError(
                f"these are no test scores: expected the columns {', '.join(SCHEMA.names)}, got "
                f"{', '.join(table.schema.names)}"
            )
        samples = [int(text, 16) for text in table.column("sample_id").to_pylist()]
        return cls(
            sample_ids=np.array(samples, dtype=np.uint64),
            groups=np.asarray(table.column("group_id").to_pylist(), dtype=np.str_),
            labels=table.column("label").to_numpy().astype(np.int64),
            probabilities=table.column("probability").to_numpy().astype(np.float64),
            slices={
                one.name.removeprefix(_SLICE): tuple(table.column(one.name).to_pylist())
                for one in further
            },
        )

    @property
    def test_hash(self) -> str:
        """Names the test set: :func:`roadwork.evaluation.evaluate.test_hash` of its rows."""
        columns = {
            "sample_id": [f"{int(sample):016x}" for sample in self.sample_ids],
            "label": self.labels.tolist(),
            "group_id": self.groups.tolist(),
        }
        return hashlib.sha256(json.dumps(columns, sort_keys=True).encode()).hexdigest()

    @property
    def content_hash(self) -> str:
        """Hash of every row."""
        from roadwork.data.manifest import table_hash

        return table_hash(self.to_table())

    def save(self, folder: Path) -> None:
        """Write one Parquet file."""
        pq.write_table(self.to_table(), folder / "scores.parquet")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what :meth:`save` wrote."""
        return cls.from_table(pq.read_table(folder / "scores.parquet"))

    def _take(self, rows: NDArray[np.intp]) -> TestScores:
        return TestScores(
            self.sample_ids[rows],
            self.groups[rows],
            self.labels[rows],
            self.probabilities[rows],
            {name: tuple(values[row] for row in rows) for name, values in self.slices.items()},
        )

    def seen_by(self, exposure: Exposure) -> dict[str, tuple[int, int]]:
        """By use, how many of these images and of their groups are in an exposure; none if 0."""
        groups = identifiers(sorted(set(self.groups.tolist())))
        counts = {
            str(use): (
                int(np.isin(self.sample_ids, ids.samples).sum()),
                int(np.isin(groups, ids.groups).sum()),
            )
            for use, ids in sorted(exposure.uses.items())
        }
        return {use: found for use, found in counts.items() if any(found)}


def pair(
    candidate: TestScores,
    champion: TestScores,
    exposures: tuple[Exposure, Exposure],
    *,
    names: tuple[str, str] = ("candidate", "champion"),
) -> tuple[TestScores, TestScores]:
    """Scores of both on the images that both were tested on, row beside row.

    Args:
        candidate: its test scores.
        champion: its test scores.
        exposures: of the candidate and of the champion, by which the images are checked again.
        names: what messages call the two.

    Raises:
        UnpairableError: no common images, too few groups, labels that differ, or an image or group
            that one of the two has seen.
    """
    _, ours, theirs = np.intersect1d(
        candidate.sample_ids, champion.sample_ids, assume_unique=True, return_indices=True
    )
    first, second = candidate._take(ours), champion._take(theirs)
    if not len(first):
        raise UnpairableError("the two were tested on different images")
    if len(differing := np.flatnonzero(first.labels != second.labels)):
        raise UnpairableError(
            f"{len(differing)} of {len(first)} common test images have different labels in the "
            "two test sets: the labels were changed in between"
        )
    for name, exposure in zip(names, exposures, strict=True):
        for use, (samples, touched) in first.seen_by(exposure).items():
            raise UnpairableError(
                f"the {name} has already seen {samples} of the common test images and {touched} "
                f"of their groups (use: {use})"
            )
    n_groups = len(np.unique(first.groups))
    if n_groups < LEAST_GROUPS:
        raise UnpairableError(
            f"the {len(first)} common test images come from {n_groups} groups, fewer than "
            f"{LEAST_GROUPS}"
        )
    return first, second


def compare(
    candidate: TestScores,
    champion: TestScores,
    exposures: tuple[Exposure, Exposure],
    *,
    metric: str = "mcc",
    resamples: int = 2000,
    seed: int = 0,
    names: tuple[str, str] = ("candidate", "champion"),
) -> PairedDifference:
    """Metric of the candidate less that of the champion, on the images both were tested on.

    Args:
        candidate: its test scores; its groups are the ones that are resampled.
        champion: its test scores.
        exposures: of the candidate and of the champion, by which the images are checked again.
        metric: a name of ``roadwork.evaluation.metrics.METRICS``.
        resamples: bootstrap resamples of whole groups.
        seed: of the resampling.
        names: what messages call the two.

    Raises:
        UnpairableError: see :func:`pair`.
    """
    first, second = pair(candidate, champion, exposures, names=names)
    return paired_bootstrap(
        metric,
        second.probabilities,
        first.probabilities,
        first.labels,
        first.groups,
        resamples=resamples,
        seed=seed,
    )
