"""Size of works in a picture, by one rule for every source."""

from __future__ import annotations

__all__ = ["LARGE", "works_size"]

LARGE = 24 / 288
"""Works whose tallest visible object takes this share of the picture's height are large: about 24
pixels of a picture of 288, less than which one global view of 224 pixels hardly shows."""


def works_size(share: float | None) -> str | None:
    """``small`` or ``large``; None where the height is not known.

    Args:
        share: height of the tallest works object divided by that of the picture.
    """
    if share is None:
        return None
    return "large" if share >= LARGE else "small"
