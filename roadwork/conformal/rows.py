"""What is known of a row beside its probabilities: its identity, for chance, and its slice."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roadwork.calibration.base import FloatArray
from roadwork.errors import DataError

__all__ = ["Rows", "content_id", "uniforms"]

_BITS = 53  # of a double's mantissa


@dataclass(frozen=True, eq=False)
class Rows:
    """N rows beside their probabilities; either may be unknown.

    Attributes:
        ids: (N,) uint64, :func:`content_id` of the image's file (the manifest's ``sample_id``).
        slices: (N,) values of the column that the predictor was fitted by; None for "not given".
    """

    ids: NDArray[np.uint64] | None = None
    slices: Sequence[str | None] | None = None


def content_id(data: bytes) -> int:
    """Identity of an image by its encoded bytes: the leading 64 bits of SHA-256, big-endian."""
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "big")


def uniforms(seed: int, ids: NDArray[np.uint64], purpose: str) -> FloatArray:
    """One number in [0, 1) for every id (N,), the same wherever and whenever it is asked for.

    A keyed hash (BLAKE2b) of the id: for different ids they serve as independent uniform numbers.
    The same image gets the same number in evaluation, in batches and in service.

    Args:
        seed: another seed gives other numbers.
        ids: identities of the rows.
        purpose: keeps the draws of one purpose apart from those of another.

    Raises:
        DataError: ids that are not a list of 64-bit numbers.
    """
    array = np.asarray(ids)
    if array.ndim != 1 or array.dtype.kind not in "ui":
        raise DataError(f"ids must be (N,) unsigned integers, not {array.shape} {array.dtype}.")
    key = f"{purpose}:{seed}".encode()
    raw = array.astype(">u8").tobytes()
    digests = b"".join(
        hashlib.blake2b(raw[at : at + 8], digest_size=8, key=key).digest()
        for at in range(0, len(raw), 8)
    )
    high = np.frombuffer(digests, dtype=">u8").astype(np.uint64) >> np.uint64(64 - _BITS)
    return high.astype(np.float64) / 2.0**_BITS
