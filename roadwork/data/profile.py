"""Profile of a manifest: what each source looks like, as numbers that another manifest can match.

A profile of data that were accepted once is the reference against which new data are held
(:mod:`roadwork.data.drift`). It is JSON and holds no name of a file, a drive or a group.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationError

from roadwork import CLASSES
from roadwork.data.manifest import SLICES, Manifest
from roadwork.data.statistics import STATISTICS
from roadwork.data.storage import read_bytes
from roadwork.errors import DataError

__all__ = [
    "BINS",
    "NULL",
    "RANGES",
    "DataProfile",
    "SourceProfile",
    "StatisticProfile",
    "group_shares",
    "load_profile",
    "profile_fingerprint",
    "profile_of",
]

NULL = "NULL"
"""Stands for a missing value, as in the slices of the evaluation."""

BINS = 48
RANGES: Mapping[str, float] = {
    "luminance": 255.0,
    "contrast": 128.0,
    "saturation": 255.0,
    "sharpness": 128.0,
}
"""Upper end of each statistic's histogram; what lies above is counted in the last bin."""

_OTHERS = "(others)"
_MOST_VALUES = 30
_QUANTILES = (0.005, 0.05, 0.5, 0.95, 0.995)

Texts = NDArray[np.str_]
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class StatisticProfile(_Record):
    """Distribution of one image statistic within a source.

    The quantiles give every group the same weight, whatever its number of images: groups, not
    images, are what repeats independently. They are values that occur (the inverse of the
    empirical distribution). The histogram counts images in equal bins from 0 to the end that
    :data:`RANGES` names.
    """

    low: float = Field(description="0.5 % quantile.")
    p05: float
    median: float
    p95: float
    high: float = Field(description="99.5 % quantile.")
    histogram: Annotated[tuple[int, ...], Strict(False)]


class SourceProfile(_Record):
    """What one source looks like.

    Attributes:
        images: rows.
        groups: groups of images that are never separated.
        positives: rows that show roadwork.
        mean_group: size of the group of an average image, ``sum n_g^2 / sum n_g``.
        label_icc: how much labels of a group agree beyond chance, 0 to 1; None where that cannot
            be told (one label only, or no group of two).
        drives: drives of two or more images.
        mixed_drives: those of them that hold both labels.
        statistics: by name; a statistic without a finite value is absent.
        slices: share of every value of a slice column, NULL included; values beyond the 30 most
            frequent are counted together.
        unknown: share of NULL in every slice column, by class; None for a class without rows.
        sizes: share of every image size ``WIDTHxHEIGHT``, as for slices.
    """

    images: int = Field(ge=1)
    groups: int = Field(ge=1)
    positives: int = Field(ge=0)
    mean_group: float = Field(ge=1)
    label_icc: float | None = Field(ge=0, le=1)
    drives: int = Field(ge=0)
    mixed_drives: int = Field(ge=0)
    statistics: Mapping[str, StatisticProfile]
    slices: Mapping[str, Mapping[str, float]]
    unknown: Mapping[str, Mapping[str, float | None]]
    sizes: Mapping[str, float]

    @property
    def prior(self) -> float:
        """Share of roadwork."""
        return self.positives / self.images


class DataProfile(_Record):
    """Profiles of all sources of a manifest.

    Attributes:
        version: of the format.
        images: rows of the manifest.
        sources: by name.
    """

    version: Literal[1] = 1
    images: int = Field(ge=0)
    sources: Mapping[str, SourceProfile]

    def to_json(self) -> str:
        """Indented JSON; equal manifests give equal text."""
        return self.model_dump_json(indent=1) + "\n"

    @classmethod
    def of(cls, table: pa.Table) -> Self:
        """Profile of rows of a manifest's table."""
        source = _codes(table.column("source"))
        order = np.argsort(source[1], kind="stable")
        bounds = np.searchsorted(source[1][order], np.arange(len(source[0]) + 1))
        columns = _columns(table)
        return cls(
            images=table.num_rows,
            sources={
                name: _profile(columns, order[bounds[code] : bounds[code + 1]])
                for code, name in enumerate(source[0])
            },
        )


def profile_of(manifest: Manifest) -> DataProfile:
    """Profile of every photograph that a manifest offers; what was set aside does not count."""
    return DataProfile.of(manifest.table)


def load_profile(uri: str) -> DataProfile:
    """Read a profile from a path or an address.

    Raises:
        DataError: there is no such file, or it is no profile.
    """
    advice = "name the JSON that `roadwork data profile` wrote in data.reference, or null."
    try:
        text = read_bytes(uri)
    except OSError as error:
        raise DataError(
            f"the reference profile {uri} cannot be read ({error.strerror or error}): {advice}"
        ) from None
    try:
        return DataProfile.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise DataError(
            f"{uri} is no profile of data ({place}: {first['msg']}): {advice}"
        ) from None


def profile_fingerprint(uri: str | None) -> str:
    """Changes with the profile that ``data.reference`` names; empty where it names none.

    Raises:
        DataError: there is no such file, or it is no profile.
    """
    if uri is None:
        return ""
    return hashlib.sha256(load_profile(uri).to_json().encode()).hexdigest()


def group_shares(hits: NDArray[Any], codes: Integers, groups: int) -> Floats:
    """Share of hits within every group: (N,) hits and group numbers give (``groups``,)."""
    total = np.bincount(codes, minlength=groups)
    return np.bincount(codes, weights=hits.astype(np.float64), minlength=groups) / total


def _codes(column: pa.ChunkedArray) -> tuple[list[str], Integers]:
    """Sorted distinct texts (NULL as text) and the number of each row's text, (N,)."""
    encoded = column.cast(pa.string()).fill_null(NULL).combine_chunks().dictionary_encode()
    words = encoded.dictionary.to_pylist()
    order = sorted(range(len(words)), key=words.__getitem__)
    place = np.empty(len(words), dtype=np.int64)
    place[order] = np.arange(len(words))
    codes = place[encoded.indices.to_numpy(zero_copy_only=False)] if words else np.empty(0, int)
    return [words[index] for index in order], codes.astype(np.int64)


def _columns(table: pa.Table) -> dict[str, Any]:
    """Columns as arrays; texts as words and codes."""
    columns: dict[str, Any] = {
        name: _codes(table.column(name)) for name in ("group_id", "drive", *SLICES)
    }
    for name in ("label", "width", "height", *STATISTICS):
        columns[name] = table.column(name).to_numpy().astype(np.float64)
    return columns


def _profile(columns: Mapping[str, Any], rows: Integers) -> SourceProfile:
    positive = columns["label"][rows] > 0
    group = np.unique(columns["group_id"][1][rows], return_inverse=True)[1].reshape(-1)
    drive = np.unique(columns["drive"][1][rows], return_inverse=True)[1].reshape(-1)
    sizes = np.bincount(group)
    of_drive = np.bincount(drive)
    hits = np.bincount(drive, weights=positive)
    weights = 1.0 / sizes[group]
    width, height = columns["width"][rows], columns["height"][rows]
    spans, span = np.unique(np.stack([width, height]), axis=1, return_inverse=True)
    named = [f"{int(w)}x{int(h)}" for w, h in spans.T]
    return SourceProfile(
        images=len(rows),
        groups=len(sizes),
        positives=int(positive.sum()),
        mean_group=float((sizes**2).sum() / len(rows)),
        label_icc=_agreement(positive, group, sizes),
        drives=int((of_drive > 1).sum()),
        mixed_drives=int(((hits > 0) & (hits < of_drive)).sum()),
        statistics={
            name: found
            for name in STATISTICS
            if (found := _statistic(columns[name][rows], weights, RANGES[name])) is not None
        },
        slices={name: _shares(columns[name][0], columns[name][1][rows]) for name in SLICES},
        unknown={
            name: _unknown(columns[name][0], columns[name][1][rows], positive) for name in SLICES
        },
        sizes=_shares(named, span.reshape(-1)),
    )


def _agreement(positive: NDArray[np.bool_], group: Integers, sizes: Integers) -> float | None:
    """Kish's design effect of the share of positives, solved for the correlation in groups."""
    share, mean = float(positive.mean()), float((sizes**2).sum() / len(positive))
    if len(sizes) < 2 or mean <= 1.0 or share in (0.0, 1.0):
        return None
    residuals = np.bincount(group, weights=positive - share)
    between = len(sizes) / (len(sizes) - 1) * float((residuals**2).sum())
    effect = between / (len(positive) * share * (1.0 - share))
    return float(np.clip((effect - 1.0) / (mean - 1.0), 0.0, 1.0))


def _statistic(values: Floats, weights: Floats, end: float) -> StatisticProfile | None:
    finite = np.isfinite(values)
    values, weights = values[finite], weights[finite]
    if not len(values):
        return None
    order = np.argsort(values, kind="stable")
    mass = np.cumsum(weights[order])
    # The tolerance keeps a sum of rounded weights from skipping the value that it reaches.
    at = np.searchsorted(mass, np.array(_QUANTILES) * mass[-1] * (1 - 1e-9))
    quantiles = values[order][np.minimum(at, len(values) - 1)].tolist()
    bins = np.clip((values / end * BINS).astype(np.int64), 0, BINS - 1)
    return StatisticProfile(
        low=quantiles[0],
        p05=quantiles[1],
        median=quantiles[2],
        p95=quantiles[3],
        high=quantiles[4],
        histogram=tuple(np.bincount(bins, minlength=BINS).tolist()),
    )


def _shares(words: list[str], codes: Integers) -> dict[str, float]:
    counts = np.bincount(codes, minlength=len(words))
    order = np.lexsort((np.arange(len(words)), -counts))
    order = order[counts[order] > 0]
    shares = {
        words[index]: float(counts[index]) / len(codes) for index in order[:_MOST_VALUES].tolist()
    }
    rest = float(counts[order[_MOST_VALUES:]].sum() / len(codes))
    return {**shares, **({_OTHERS: rest} if rest else {})}


def _unknown(
    words: list[str], codes: Integers, positive: NDArray[np.bool_]
) -> dict[str, float | None]:
    missing = codes == (words.index(NULL) if NULL in words else -1)
    return {
        name: float(missing[positive == bool(label)].mean())
        if (positive == bool(label)).any()
        else None
        for label, name in enumerate(CLASSES)
    }
