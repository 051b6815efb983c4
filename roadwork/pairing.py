"""Two models on the same images: the paired comparison that a promotion rests on.

A candidate is compared with the champion on images that belong to the test sets of both, so that
neither has seen them. Whole groups (drives) are resampled, and both models are judged on the same
resamples, because the difference of two separate intervals would be far too wide.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray

from roadwork import POSITIVE
from roadwork.calibration.base import check_probabilities
from roadwork.data.exposure import Exposure, Ids, identifiers
from roadwork.data.manifest import TestSet
from roadwork.errors import DataError
from roadwork.evaluation.bootstrap import PairedDifference, paired_bootstrap

__all__ = ["LEAST_GROUPS", "TestScores", "UnpairableError", "compare"]

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
    """

    __test__ = False  # no test class, whatever pytest thinks of the name

    sample_ids: Ids
    groups: NDArray[np.str_]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]

    def __post_init__(self) -> None:
        shapes = {
            part.shape for part in (self.sample_ids, self.groups, self.labels, self.probabilities)
        }
        if len(shapes) != 1 or len(next(iter(shapes))) != 1:
            raise DataError(
                "test scores need one sample id, group, label and probability per image, but have "
                f"the shapes {sorted(shapes)}"
            )
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
        return cls(test.sample_ids, test.groups, test.labels, table[:, POSITIVE])

    def to_table(self) -> pa.Table:
        """One row per image: sample_id (16 hexadecimal digits), group_id, label, probability."""
        columns = [
            [f"{int(sample):016x}" for sample in self.sample_ids],
            self.groups.tolist(),
            self.labels.tolist(),
            self.probabilities.tolist(),
        ]
        return pa.Table.from_arrays(
            [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)],
            schema=SCHEMA,
        )

    @classmethod
    def from_table(cls, table: pa.Table) -> Self:
        """Inverse of :meth:`to_table`.

        Raises:
            DataError: the columns are not those of test scores.
        """
        if table.schema.remove_metadata() != SCHEMA:
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
        )

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
            self.sample_ids[rows], self.groups[rows], self.labels[rows], self.probabilities[rows]
        )


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
        _refuse_seen(name, exposure, first)
    n_groups = len(np.unique(first.groups))
    if n_groups < LEAST_GROUPS:
        raise UnpairableError(
            f"the {len(first)} common test images come from {n_groups} groups, fewer than "
            f"{LEAST_GROUPS}"
        )
    return paired_bootstrap(
        metric,
        second.probabilities,
        first.probabilities,
        first.labels,
        first.groups,
        resamples=resamples,
        seed=seed,
    )


def _refuse_seen(name: str, exposure: Exposure, scores: TestScores) -> None:
    groups = identifiers(sorted(set(scores.groups.tolist())))
    for use, ids in exposure.uses.items():
        samples = int(np.isin(scores.sample_ids, ids.samples).sum())
        touched = int(np.isin(groups, ids.groups).sum())
        if samples or touched:
            raise UnpairableError(
                f"the {name} has already seen {samples} of the common test images and {touched} "
                f"of their groups (use: {use})"
            )
