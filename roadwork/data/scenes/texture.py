"""Tileable noise fields, made once a process and read many times."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

__all__ = ["FIELD", "field", "grain"]

FIELD = 512

Field = np.ndarray


@lru_cache(maxsize=16)
def field(number: int, exponent: float) -> Field:
    """Periodic noise with a power spectrum that falls as ``frequency ** -exponent``.

    Args:
        number: Which field; the same number gives the same field.
        exponent: 0 is white noise, 2 is cloud-like, 1 is like worn asphalt.

    Returns:
        float32 of shape (512, 512), zero mean, unit standard deviation.
    """
    rng = np.random.default_rng([7, number])
    white = np.fft.rfft2(rng.standard_normal((FIELD, FIELD)))
    rows = np.fft.fftfreq(FIELD)[:, None]
    columns = np.fft.rfftfreq(FIELD)[None, :]
    radius = np.hypot(rows, columns)
    radius[0, 0] = 1.0
    amplitude = radius ** (-exponent / 2)
    amplitude[0, 0] = 0.0
    values = np.fft.irfft2(white * amplitude, s=(FIELD, FIELD))
    return (values / values.std()).astype(np.float32)


@lru_cache(maxsize=4)
def grain(width: int, height: int) -> Field:
    """Sensor noise that is larger than an image, to be read at a random offset.

    Returns:
        float32 of shape (height + 64, width + 64, 3), unit standard deviation; three quarters of
        the variance is common to the channels, as after demosaicing.
    """
    rng = np.random.default_rng([11, width, height])
    shape = (height + 64, width + 64)
    common = rng.standard_normal((*shape, 1), dtype=np.float32)
    own = rng.standard_normal((*shape, 3), dtype=np.float32)
    return (0.866 * common + 0.5 * own).astype(np.float32)
