"""Source: a folder of images with a CSV of labels and groups, or one sub-folder per class."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator
from pathlib import Path

from roadwork.data.manifest import SLICES
from roadwork.data.sources.rows import SourceRow, parse_label
from roadwork.errors import ConfigError, DataError
from roadwork.settings import ImageFolderSource

__all__ = ["ImageFolder"]

_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}


class ImageFolder:
    """Reads a CSV with one row per image, or walks class folders (``roadwork``, ``none``).

    With class folders the group is the folder two levels down (``roadwork/<group>/x.jpg``), the
    same in both class folders; an image that lies directly in its class folder is a group of its
    own. Without a source column the source is the part of the group before the first slash.
    """

    def __init__(self, settings: ImageFolderSource) -> None:
        """Check that the folder, the CSV and its columns exist.

        Raises:
            ConfigError: one of them does not.
        """
        if settings.root is None:
            raise ConfigError("data.source.root is not set: resolve the settings first")
        self.settings = settings
        self.root = Path(settings.root).expanduser().resolve()
        if not self.root.is_dir():
            raise ConfigError(f"data.source.root: there is no folder {self.root}")
        self.csv = self.root / settings.csv if settings.csv else None
        if self.csv is not None and not self.csv.is_file():
            raise ConfigError(
                f"data.source.csv: there is no file {self.csv}; name the CSV, or set it to null "
                "to read the folders `roadwork` and `none`"
            )

    def fingerprint(self) -> str:
        """Hash of the CSV and of every file's name, size and time of change."""
        digest = hashlib.sha256(self.settings.model_dump_json().encode())
        if self.csv is not None:
            digest.update(self.csv.read_bytes())
        for path in sorted(self.root.rglob("*")):
            if path.suffix.lower() in _SUFFIXES and path.is_file():
                stat = path.stat()
                name = path.relative_to(self.root).as_posix()
                digest.update(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode())
        return digest.hexdigest()

    def rows(self) -> Iterator[SourceRow]:
        """Every row of the CSV, or every file of the class folders."""
        return self._from_folders() if self.csv is None else self._from_csv(self.csv)

    def _from_csv(self, path: Path) -> Iterator[SourceRow]:
        wanted = self.settings
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or []
            for key in ("file_column", "label_column", "group_column"):
                if getattr(wanted, key) not in columns:
                    raise DataError(
                        f"{path.name} has no column {getattr(wanted, key)!r} (data.source.{key}); "
                        f"it has: {', '.join(columns) or 'nothing'}"
                    )
            slices = [name for name in SLICES if name in columns]
            for number, row in enumerate(reader, start=2):
                name = row[wanted.file_column] or f"line {number}"
                group = row[wanted.group_column]
                source = row.get(wanted.source_column or "") or _source_of(group or "")
                yield SourceRow(
                    path=self._inside(name),
                    file=name,
                    label=parse_label(row[wanted.label_column]),
                    group=group or "",
                    source=source,
                    slices={key: row[key] or None for key in slices},
                )

    def _inside(self, name: str) -> Path:
        path = (self.root / name).resolve()
        if not path.is_relative_to(self.root):
            raise DataError(f"{self.csv}: {name} points outside of {self.root}")
        return path

    def _from_folders(self) -> Iterator[SourceRow]:
        found = False
        for folder in sorted(path for path in self.root.iterdir() if path.is_dir()):
            label = parse_label(folder.name)
            if label is None:
                continue
            found = True
            for path in sorted(folder.rglob("*")):
                if path.suffix.lower() not in _SUFFIXES:
                    continue
                relative = path.relative_to(self.root)
                inner = relative.parts[1] if len(relative.parts) > 2 else path.stem
                yield SourceRow(
                    path=path,
                    file=relative.as_posix(),
                    label=label,
                    # Not named after the class: a drive may lie in both class folders.
                    group=inner,
                    source="image_folder",
                )
        if not found:
            raise DataError(
                f"{self.root} has no sub-folder named roadwork or none: create them, or give a CSV"
            )


def _source_of(group: str) -> str:
    """``clips/boston`` comes from ``clips``; a group without a slash says nothing of its source."""
    source, slash, _ = group.partition("/")
    return source if slash else "image_folder"
