"""The manifest: one row per photograph, in Arrow; and the data sets of each role cut from it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from roadwork.data.columns import distinct, encode, table_hash, text_bytes
from roadwork.data.exposure import Ids, IdSet, identifiers
from roadwork.errors import DataError

__all__ = [
    "SCHEMA",
    "SLICES",
    "CalibrationSet",
    "ConformalSet",
    "Manifest",
    "Role",
    "SampleSet",
    "SelectSet",
    "Split",
    "TestSet",
    "TrainSet",
    "table_hash",
]

SLICES: tuple[str, ...] = (
    "time_of_day",
    "weather",
    "environment",
    "city",
    "camera",
    "works_size",
    "domain",
)
"""Columns that describe a photograph; used for slices alone, never as input of a model."""

SCHEMA = pa.schema(
    [
        pa.field("sample_id", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("file", pa.string(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("phash", pa.uint64(), nullable=False),
        pa.field("group_id", pa.string(), nullable=False),
        pa.field("drive", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("label", pa.int8(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("luminance", pa.float32(), nullable=False),
        pa.field("contrast", pa.float32(), nullable=False),
        pa.field("saturation", pa.float32(), nullable=False),
        pa.field("sharpness", pa.float32(), nullable=False),
        pa.field("capture", pa.string()),
        *[pa.field(name, pa.string()) for name in SLICES],
    ]
)
"""``sample_id`` is the head of ``sha256``; ``drive`` the group as the source names it;
``group_id`` the group after near-duplicates were merged; ``file`` the name shown to people;
``capture`` is ``video/sequence/frame`` where known. ``luminance`` (mean), ``contrast`` (standard
deviation) and ``saturation`` (mean) are of 8-bit values, ``sharpness`` is the standard deviation of
the Laplacian of the grey picture; see :mod:`roadwork.data.statistics`."""

QUARANTINE = pa.schema(
    [
        pa.field("file", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),
        pa.field("fault", pa.bool_(), nullable=False),
    ]
)
"""Rows that are not used: damaged ones (``fault``), and those left out on purpose."""

DUPLICATES = pa.schema(
    [
        *SCHEMA,
        pa.field("kept", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
    ]
)
"""Left-out copies: ``kept`` is the ``sample_id`` of the row that stays; ``reason`` is ``content``
(equal bytes), ``capture`` (equal video, sequence and frame) or ``near`` (look alike)."""


_MOST_NAMES = 20  # names that a message about an overlap may need


class Split(StrEnum):
    """The four roles of data that are kept apart."""

    TRAIN = "train"
    VAL_SELECT = "val_select"
    VAL_CALIB = "val_calib"
    VAL_TEST = "val_test"


class Role(StrEnum):
    """The five sets: VAL_CALIB is cut in two, by group."""

    TRAIN = "train"
    SELECT = "select"
    CALIBRATE = "calibrate"
    CONFORMAL = "conformal"
    TEST = "test"

    @property
    def split(self) -> Split:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The split that this set belongs to."""
        return {
            Role.TRAIN: Split.TRAIN,
            Role.SELECT: Split.VAL_SELECT,
            Role.CALIBRATE: Split.VAL_CALIB,
            Role.CONFORMAL: Split.VAL_CALIB,
            Role.TEST: Split.VAL_TEST,
        }[self]


@dataclass(frozen=True)
class Manifest:
    """Every usable photograph, and every one that was set aside, with the reason.

    Attributes:
        table: rows of :data:`SCHEMA`, sorted by ``file``.
        quarantine: files that could not be used: file, source, reason, detail.
        duplicates: copies of a row that was kept: rows of :data:`DUPLICATES`.
    """

    table: pa.Table
    quarantine: pa.Table
    duplicates: pa.Table

    def __len__(self) -> int:
        return self.table.num_rows

    def __post_init__(self) -> None:
        if self.table.schema != SCHEMA:
            raise DataError(
                "the manifest has the wrong columns: expected "
                f"{', '.join(SCHEMA.names)}; got {', '.join(self.table.schema.names)}"
            )

    @property
    def content_hash(self) -> str:
        """Hash of all rows, addresses included: equal manifests, equal hashes."""
        parts = (self.table, self.quarantine, self.duplicates)
        return hashlib.sha256("".join(map(table_hash, parts)).encode()).hexdigest()

    def quarantine_counts(self) -> dict[str, int]:
        """How many files were set aside, by reason."""
        return _counts(self.quarantine.column("reason"))

    def save(self, folder: Path) -> None:
        """Write three Parquet files."""
        for name in ("table", "quarantine", "duplicates"):
            pq.write_table(getattr(self, name), folder / f"{name}.parquet")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what :meth:`save` wrote."""
        return cls(
            *(
                pq.read_table(folder / f"{name}.parquet")
                for name in ("table", "quarantine", "duplicates")
            )
        )


@dataclass(frozen=True)
class SampleSet:
    """Rows of one role. Each role is a type of its own, so that roles cannot be exchanged."""

    table: pa.Table
    role: ClassVar[Role]

    def __post_init__(self) -> None:
        if not self.table.num_rows:
            raise DataError(
                f"the {self.role} set is empty: there are too few groups for the shares of `split`"
            )

    def __len__(self) -> int:
        return self.table.num_rows

    @property
    def labels(self) -> NDArray[np.int64]:
        """Class indices, shape (N,)."""
        return self.table.column("label").to_numpy().astype(np.int64)

    @property
    def groups(self) -> NDArray[np.str_]:
        """Group names, shape (N,)."""
        names, codes = encode(self.table.column("group_id"))
        return np.asarray(names, dtype=np.str_)[codes]

    @property
    def group_codes(self) -> NDArray[np.int64]:
        """Numbers of the groups, from 0, in the order of their names, shape (N,)."""
        return encode(self.table.column("group_id"))[1]

    @property
    def uris(self) -> list[str]:
        """Where the images are."""
        return self.table.column("uri").to_pylist()

    @property
    def files(self) -> list[str]:
        """Names shown to people."""
        return self.table.column("file").to_pylist()

    def column(self, name: str) -> list[str | None]:
        """Values of a slice column; None where unknown."""
        return self.table.column(name).to_pylist()

    @property
    def sample_ids(self) -> Ids:
        """64-bit sample identifiers, shape (N,), in row order."""
        try:
            heads = bytes.fromhex(text_bytes(self.table.column("sample_id")).decode())
        except ValueError:
            heads = b""
        if len(heads) != 8 * len(self):
            raise DataError("sample_id must be 16 hexadecimal digits in every row")
        return np.frombuffer(heads, dtype=">u8").astype(np.uint64)

    @property
    def ids(self) -> IdSet:
        """Identifiers of all samples and of all groups, merged and as the source names them."""
        return IdSet.of(self.sample_ids, identifiers(self._group_names()))

    def name_overlap(self, samples: Ids, groups: Ids) -> tuple[list[str], list[str]]:
        """Files, in row order, and group names, sorted, of the given identifiers: 20 at most."""
        files: list[str] = []
        names: list[str] = []
        if len(samples):
            rows = np.flatnonzero(np.isin(self.sample_ids, samples))[:_MOST_NAMES]
            files = self.table.column("file").take(pa.array(rows)).to_pylist()
        if len(groups):
            known = self._group_names()
            hit = np.flatnonzero(np.isin(identifiers(known), groups))
            names = sorted(known[index] for index in hit.tolist())[:_MOST_NAMES]
        return files, names

    def _group_names(self) -> list[str]:
        return distinct(self.table.column("group_id"), self.table.column("drive"))

    @property
    def content_hash(self) -> str:
        """Hash of the role and all rows, addresses of the images included."""
        # ``uri`` counts on purpose: the hash keys the cache of everything made from this set. If
        # photographs move, an artifact with stale addresses must not be taken from the cache.
        return hashlib.sha256(f"{self.role}:{table_hash(self.table)}".encode()).hexdigest()

    def save(self, folder: Path) -> None:
        """Write one Parquet file that remembers its role."""
        table = self.table.replace_schema_metadata({"role": str(self.role)})
        pq.write_table(table, folder / "samples.parquet")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what :meth:`save` wrote.

        Raises:
            DataError: the rows belong to another role.
        """
        table = pq.read_table(folder / "samples.parquet")
        role = (table.schema.metadata or {}).get(b"role", b"").decode()
        if role != cls.role:
            raise DataError(f"{folder.name} holds the {role or 'unknown'} set, not {cls.role}")
        return cls(table.replace_schema_metadata(None))


class TrainSet(SampleSet):
    """TRAIN: weights are fitted here."""

    role = Role.TRAIN


class SelectSet(SampleSet):
    """VAL_SELECT: early stopping and the choice between models."""

    role = Role.SELECT


class CalibrationSet(SampleSet):
    """VAL_CALIB, first part: the calibrator is fitted here."""

    role = Role.CALIBRATE


class ConformalSet(SampleSet):
    """VAL_CALIB, second part: conformal thresholds are fitted here."""

    role = Role.CONFORMAL


class TestSet(SampleSet):
    """VAL_TEST: looked at once, by the final evaluation."""

    __test__ = False  # no test class, whatever pytest thinks of the name
    role = Role.TEST


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    return {entry["values"].as_py(): entry["counts"].as_py() for entry in column.value_counts()}
