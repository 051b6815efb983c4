"""Exposure: which samples and groups touched a fitted artifact, and the refusal to reuse them.

Every fitted artifact carries an :class:`Exposure`. Fitting unites the exposures of what it was
built from with the data it sees; whatever judges or calibrates calls :func:`require_unexposed`
first. Identifiers are 64-bit: the leading eight bytes of the SHA-256 of an image's bytes, and of a
group's name. So an image is recognised in any later process, under any file name. On disk they are
sparse compressed bitmaps (:mod:`roadwork.data.elias_fano`); ten million take 53 megabytes, and two
such sets are compared in a fraction of a second.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from roadwork.data.elias_fano import decode_sorted, encode_sorted
from roadwork.errors import BundleError, LeakageError

__all__ = ["Exposed", "Exposure", "IdSet", "Use", "common", "identifiers", "require_unexposed"]

_MAGIC = b"RWEXPO2\n"
_PIECE = 1 << 16  # identifiers
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
    sha256 = hashlib.sha256
    heads = b"".join([sha256(name.encode()).digest()[:8] for name in names])
    return np.frombuffer(heads, dtype=">u8").astype(np.uint64)


def common(a: Ids, b: Ids) -> Ids:
    """Identifiers of both sets; each is sorted and unique, and so is the result.

    Piece by piece, each small enough for the processor's cache: a stable sort of two sorted runs,
    one behind the other, merges them. A set that is much smaller is looked up in the larger one.
    """
    small, large = (a, b) if len(a) <= len(b) else (b, a)
    if 16 * len(small) < len(large):
        places = np.searchsorted(large, small)
        places[places == len(large)] = 0
        return small[large[places] == small]
    starts = np.arange(0, len(small), _PIECE)
    edges = [*np.searchsorted(large, small[starts]).tolist(), len(large)]
    found = [small[:0]]
    for start, low, high in zip(starts.tolist(), edges, edges[1:], strict=False):
        merged = np.concatenate([small[start : start + _PIECE], large[low:high]])
        merged.sort(kind="stable")
        found.append(merged[1:][merged[1:] == merged[:-1]])
    return np.concatenate(found)


@dataclass(frozen=True)
class IdSet:
    """Sorted, unique 64-bit identifiers of samples and of groups."""

    samples: Ids
    groups: Ids

    @classmethod
    def of(cls, samples: Ids, groups: Ids) -> IdSet:
        """Sort and make unique."""
        return cls(_distinct(samples), _distinct(groups))

    def union(self, other: IdSet) -> IdSet:
        """Every identifier of either set."""
        return IdSet(
            _distinct(np.concatenate([self.samples, other.samples])),
            _distinct(np.concatenate([self.groups, other.groups])),
        )


class Dataset(Protocol):
    """What can be asked about: rows with sample ids and group ids (see ``manifest.SampleSet``)."""

    @property
    def ids(self) -> IdSet:
        """Identifiers of every row."""
        ...

    def name_overlap(self, samples: Ids, groups: Ids) -> tuple[list[str], list[str]]:
        """Readable names of the given identifiers: files, and groups; some of them if many."""
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
        """Compact form: the sets as sparse compressed bitmaps, behind a SHA-256 of it all."""
        header: dict[str, list[int]] = {}
        body = []
        for use, ids in sorted(self.uses.items()):
            packed = [encode_sorted(ids.samples), encode_sorted(ids.groups)]
            header[str(use)] = [len(ids.samples), len(packed[0]), len(ids.groups), len(packed[1])]
            body += packed
        head = json.dumps(header, sort_keys=True).encode()
        payload = b"".join([struct.pack("<I", len(head)), head, *body])
        return _MAGIC + hashlib.sha256(payload).digest() + payload

    @classmethod
    def from_bytes(cls, data: bytes) -> Exposure:
        """Inverse of :meth:`to_bytes`; reads the first version of the form too.

        Raises:
            BundleError: the bytes are no exposure record, were changed, or are of a later version.
        """
        magic, start = data[:8], len(_MAGIC) + 32
        if magic not in _DECODERS and re.fullmatch(rb"RWEXPO\d\n", magic):
            raise BundleError(
                f"the exposure record has version {magic[6:7].decode(errors='replace')!r}, which "
                "this roadwork cannot read: update roadwork, or fetch the artifact again"
            )
        payload = data[start:]
        if magic not in _DECODERS or hashlib.sha256(payload).digest() != data[8:start]:
            raise BundleError("the exposure record is damaged: fetch the artifact again")
        try:
            return cls(dict(_read_uses(payload, _DECODERS[magic])))
        except (ValueError, struct.error, zlib.error, AttributeError) as error:
            raise BundleError(
                f"the exposure record is damaged ({error}): fetch the artifact again"
            ) from error


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
        samples = common(seen.samples, ids.samples)
        groups = common(seen.groups, ids.groups)
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


def _distinct(ids: Ids) -> Ids:
    """Sorted and unique. The stable sort is linear where sorted sets lie behind one another;
    ``numpy.unique`` would put random 64-bit numbers into a hash table, many times slower."""
    ordered = np.sort(ids.astype(np.uint64, copy=False), kind="stable")
    new = np.ones(len(ordered), dtype=bool)
    new[1:] = ordered[1:] != ordered[:-1]
    return ordered[new]


def _read_uses(payload: bytes, decode: Callable[[bytes, int], Ids]) -> Iterable[tuple[Use, IdSet]]:
    (length,) = struct.unpack_from("<I", payload)
    position = 4 + length
    for use, numbers in json.loads(payload[4:position]).items():
        counts, sizes = numbers[::2], numbers[1::2]
        sets = []
        for count, size in zip(counts, sizes, strict=True):
            sets.append(decode(payload[position : position + size], count))
            position += size
        samples, groups = sets
        yield Use(use), IdSet(samples, groups)


def _unpack_planes(data: bytes, count: int) -> Ids:
    """Version 1: differences of sorted identifiers, gathered by byte position and deflated."""
    planes = np.frombuffer(zlib.decompress(data), dtype=np.uint8).reshape(8, count)
    differences = np.ascontiguousarray(planes.T).view("<u8").reshape(-1)
    return np.cumsum(differences, dtype=np.uint64)


_DECODERS: Mapping[bytes, Callable[[bytes, int], Ids]] = {
    _MAGIC: decode_sorted,
    b"RWEXPO1\n": _unpack_planes,
}
