"""What a source gives: rows with an address, a label, a group and slice columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from roadwork.data.sources.image_folder import ImageFolder
from roadwork.data.sources.rows import SourceRow
from roadwork.data.sources.synthetic import Synthetic
from roadwork.settings import ImageFolderSource, Settings, SyntheticSource

__all__ = ["Source", "SourceRow", "open_source"]


class Source(Protocol):
    """Somewhere photographs come from."""

    def fingerprint(self) -> str:
        """Changes whenever the data may have changed; cheap, and never downloads images."""
        ...

    def rows(self) -> Iterator[SourceRow]:
        """Every photograph, unreadable ones included."""
        ...


@dataclass(frozen=True)
class SourceInfo:
    """One entry of the registry of sources."""

    title: str
    open: Callable[[Settings], Source]


def _synthetic(settings: Settings) -> Source:
    assert isinstance(settings.data.source, SyntheticSource)
    return Synthetic(settings.data.source, settings.seed, Path(settings.runs or "runs") / "data")


def _image_folder(settings: Settings) -> Source:
    assert isinstance(settings.data.source, ImageFolderSource)
    return ImageFolder(settings.data.source)


SOURCES: Mapping[str, SourceInfo] = {
    "synthetic": SourceInfo("generated street scenes", _synthetic),
    "image_folder": SourceInfo("a folder of images with a CSV, or class folders", _image_folder),
}


def open_source(settings: Settings) -> Source:
    """The source that resolved settings name."""
    return SOURCES[settings.data.source.kind].open(settings)
