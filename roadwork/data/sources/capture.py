"""Captures: the name of one photograph, however often and in whichever form it was published."""

from __future__ import annotations

__all__ = ["PITTSBURGH", "capture_of", "sequence_group"]

PITTSBURGH = "pgh"
"""Stands for the video where CMU ROADWork names none: ``pgh<seq>_<frame>.jpg``."""


def capture_of(
    vid: str | None, seq: str | int | float | None, frame: str | int | None
) -> str | None:
    """``video/sequence/frame`` in one spelling; None if one of the three is unknown.

    The video is in lower case; sequence and frame are numbers padded to six and five digits, as
    ROADWork's file names have them, so that ``2`` and ``000002``, and ``04050.jpg`` and ``04050``,
    are equal. A sequence or frame that is no number keeps its text, in lower case.

    Args:
        vid: name of the video (32 hexadecimal digits), or :data:`PITTSBURGH`.
        seq: number of the sequence in the video.
        frame: number of the frame, or the name of its file.
    """
    parts = (_text(vid), _number(_text(seq), 6), _number(_stem(_text(frame)), 5))
    return "/".join(parts) if all(parts) else None


def sequence_group(vid: str | None, seq: str | int | float | None) -> str | None:
    """The group of all photographs of a sequence, the same in every source; None if unknown."""
    parts = (_text(vid), _number(_text(seq), 6))
    return "/".join(("sequence", *parts)) if all(parts) else None


def _text(value: str | int | float | None) -> str:
    if isinstance(value, float):  # a column of integers with NULLs is often stored as floats
        return str(int(value)) if value == value and value.is_integer() else ""
    return str("" if value is None else value).strip().lower().replace("/", "_")


def _stem(name: str) -> str:
    for suffix in (".jpg", ".jpeg", ".png"):
        name = name.removesuffix(suffix)
    return name


def _number(text: str, digits: int) -> str:
    return str(int(text)).zfill(digits) if text.isascii() and text.isdigit() else text
