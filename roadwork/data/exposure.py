"""Exposure: which samples and groups touched a fitted artifact, and the refusal to reuse them.

Every fitted artifact carries an :class:`Exposure`. Fitting unites the exposures of what it was
built from with the data it sees; whatever judges or calibrates calls :func:`require_unexposed`
first. Identifiers are 64-bit: the leading eight bytes of the SHA-256 of an image's bytes, and of a
group's name. So an image is recognised in any later process, under any file name.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from roadwork.errors import BundleError, LeakageError

__all__ = ["Exposed", "Exposure", "IdSet", "Use", "identifiers", "require_unexposed"]

_MAGIC = b"RWEXPO1\n"
Ids = NDArray[np.uint64]


class Use(StrEnum):
    """What data was used for."""

    PRETRAIN = "pretrain"
    TRAIN = "train"
    SELECT = "select"
    CALIBRATE = "calibrate"
    CONFORMALISE = "conformalise"


def identifiers(names: Iterable[str]) -> Ids:
    """64-bit identifiers of names: the leading 8 bytes of each SHA-256, big-endian."""
    digests = [hashlib.sha256(name.encode()).digest()[:8] for name in names]
    return np.frombuffer(b"".join(digests), dtype=">u8").astype(np.uint64)


@dataclass(frozen=True)
class IdSet:
    """Sorted, unique 64-bit identifiers of samples and of groups."""

    samples: Ids
    groups: Ids

    @classmethod
    def of(cls, samples: Ids, groups: Ids) -> IdSet:
        """Sort and make unique."""
        return cls(np.unique(samples.astype(np.uint64)), np.unique(groups.astype(np.uint64)))

    def union(self, other: IdSet) -> IdSet:
        """Every identifier of either set."""
        return IdSet(np.union1d(self.samples, other.samples), np.union1d(self.groups, other.groups))


class Dataset(Protocol):
    """What can be asked about: rows with sample ids and group ids (see ``manifest.SampleSet``)."""

    @property
    def ids(self) -> IdSet:
        """Identifiers of every row."""
        ...

    def name_overlap(self, samples: Ids, groups: Ids) -> tuple[list[str], list[str]]:
        """Readable names of the given identifiers: files, and groups."""
        ...


@dataclass(frozen=True)
class Exposure:
    """For every use, the identifiers that were used so."""

    uses: Mapping[Use, IdSet] = field(default_factory=dict)

    @classmethod
    def of(cls, use: Use, dataset: Dataset) -> Exposure:
        """The exposure of something fitted on one data set."""
        return cls({use: dataset.ids})

    def union(self, *others: Exposure) -> Exposure:
        """The exposure of something built from several parts."""
        uses = dict(self.uses)
        for other in others:
            for use, ids in other.uses.items():
                uses[use] = uses[use].union(ids) if use in uses else ids
        return Exposure(uses)

    def counts(self) -> dict[str, dict[str, int]]:
        """Samples and groups per use, for reports."""
        return {
            str(use): {"samples": len(ids.samples), "groups": len(ids.groups)}
            for use, ids in sorted(self.uses.items())
        }

    def to_bytes(self) -> bytes:
        """Compact form: sorted identifiers as differences, byte planes, deflated."""
        header: dict[str, list[int]] = {}
        body = b""
        for use, ids in sorted(self.uses.items()):
            packed = [_pack(ids.samples), _pack(ids.groups)]
            header[str(use)] = [len(ids.samples), len(packed[0]), len(ids.groups), len(packed[1])]
            body += b"".join(packed)
        head = json.dumps(header, sort_keys=True).encode()
        payload = struct.pack("<I", len(head)) + head + body
        return _MAGIC + hashlib.sha256(payload).digest() + payload

    @classmethod
    def from_bytes(cls, data: bytes) -> Exposure:
        """Inverse of :meth:`to_bytes`.

        Raises:
            BundleError: the bytes are no exposure record, or were changed.
        """
        start = len(_MAGIC) + 32
        payload = data[start:]
        if not data.startswith(_MAGIC) or hashlib.sha256(payload).digest() != data[8:start]:
            raise BundleError("the exposure record is damaged: fetch the artifact again")
        (length,) = struct.unpack_from("<I", payload)
        header = json.loads(payload[4 : 4 + length])
        position = 4 + length
        uses: dict[Use, IdSet] = {}
        for use, (n_samples, size_samples, n_groups, size_groups) in header.items():
            samples = _unpack(payload[position : position + size_samples], n_samples)
            position += size_samples
            groups = _unpack(payload[position : position + size_groups], n_groups)
            position += size_groups
            uses[Use(use)] = IdSet(samples, groups)
        return cls(uses)


@runtime_checkable
class Exposed(Protocol):
    """A fitted artifact."""

    @property
    def exposure(self) -> Exposure:
        """What touched it, directly or through what it was built from."""
        ...


def require_unexposed(
    artifact: Exposed, dataset: Dataset, purpose: str, uses: Iterable[Use] = tuple(Use)
) -> None:
    """Refuse data that the artifact has already seen, by sample or by group.

    Args:
        artifact: anything fitted.
        dataset: the data about to be used.
        purpose: what it is about to be used for, a phrase such as ``"evaluate"``.
        uses: which earlier uses are forbidden; all by default.

    Raises:
        LeakageError: naming how many samples and groups overlap, which, and their earlier use.
    """
    ids = dataset.ids
    for use in uses:
        seen = artifact.exposure.uses.get(use)
        if seen is None:
            continue
        samples = np.intersect1d(seen.samples, ids.samples, assume_unique=True)
        groups = np.intersect1d(seen.groups, ids.groups, assume_unique=True)
        if len(samples) or len(groups):
            files, names = dataset.name_overlap(samples, groups)
            raise LeakageError(
                f"cannot {purpose} {_describe(artifact)}: it was already exposed to this data "
                f"({use}): {len(samples)} samples{_list(files)} and {len(groups)} "
                f"groups{_list(names)} overlap. Use data of other groups."
            )


def _describe(artifact: Any) -> str:
    return f"the {getattr(artifact, 'title', type(artifact).__name__)}"


def _list(names: list[str], most: int = 5) -> str:
    if not names:
        return ""
    more = ", …" if len(names) > most else ""
    return f" ({', '.join(names[:most])}{more})"


def _pack(ids: Ids) -> bytes:
    # Differences of sorted 64-bit hashes have zero leading bytes; gathering equal byte positions
    # lets deflate remove them.
    differences = np.diff(ids, prepend=np.uint64(0)).astype("<u8")
    planes = differences.view(np.uint8).reshape(-1, 8).T
    return zlib.compress(np.ascontiguousarray(planes).tobytes(), 6)


def _unpack(data: bytes, count: int) -> Ids:
    planes = np.frombuffer(zlib.decompress(data), dtype=np.uint8).reshape(8, count)
    differences = np.ascontiguousarray(planes.T).view("<u8").reshape(-1)
    return np.cumsum(differences, dtype=np.uint64)
