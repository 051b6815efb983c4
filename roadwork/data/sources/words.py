"""Descriptive words of NATIX and CMU ROADWork, spelt in one way for the slice columns."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = ["city_of", "joined", "word"]

_NOTHING = frozenset({"", "nan", "none", "null"})
"""What tables write where a word is missing; ``Unknown`` is not among them: an annotator's word."""


def word(value: Any) -> str | None:
    """The word without spaces around it; None if there is none."""
    text = value.strip() if isinstance(value, str) else ""
    return None if text.lower() in _NOTHING else text


def joined(values: Iterable[Any]) -> str | None:
    """Several words as one value, sorted, such as ``Cloudy, Rain``; None if there is none."""
    return ", ".join(sorted({text for value in values if (text := word(value))})) or None


def city_of(value: Any) -> str | None:
    """Name of a city in lower case, as both data sets' file names have it."""
    text = word(value)
    return text.lower() if text else None
