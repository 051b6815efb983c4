"""Source: a folder of images with a CSV of labels and groups, or one sub-folder per class.

The folder lies on disk or in an object store; the same content gives the same rows in either.
"""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import os
import posixpath
from array import array
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

import numpy as np

from roadwork.data.manifest import SLICES
from roadwork.data.sources.rows import SourceRow, Verdict, parse_label
from roadwork.data.storage import (
    container_of,
    exists,
    is_folder,
    is_remote,
    join,
    list_files,
    list_folders,
    local_path,
    read_bytes,
    relative_to,
)
from roadwork.errors import ConfigError, DataError
from roadwork.settings import ImageFolderSource

__all__ = ["ImageFolder"]

_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


class ImageFolder:
    """Reads a CSV with one row per image, or walks class folders (``roadwork``, ``none``).

    With class folders the group is the folder two levels down (``roadwork/<group>/x.jpg``), the
    same in both class folders; an image that lies directly in its class folder is a group of its
    own. Without a source column the source is the part of the group before the first slash.

    A file that the CSV names twice is offered once if both lines say the same, and not at all if
    they differ.
    """

    def __init__(self, settings: ImageFolderSource) -> None:
        """Check that the folder and the CSV exist.

        Raises:
            ConfigError: one of them does not, or the CSV lies outside of the folder.
        """
        if settings.root is None:
            raise ConfigError("data.sources.root is not set: resolve the settings first")
        self.settings = settings
        if is_remote(settings.root):
            self.root = settings.root.rstrip("/")
        else:
            self.root = str(local_path(settings.root).expanduser().resolve())
        if not is_folder(self.root):
            raise ConfigError(f"data.sources.root: there is no folder {self.root}")
        self._folders: dict[str, str] = {}
        self.csv: str | None = None
        if settings.csv is not None:
            try:
                self.csv = self._inside(settings.csv)
            except DataError as error:
                raise ConfigError(f"data.sources.csv: {error}") from None
            if is_folder(self.csv) or not exists(self.csv):
                raise ConfigError(
                    f"data.sources.csv: there is no file {self.csv}; name the CSV, or set it to "
                    "null to read the folders `roadwork` and `none`"
                )

    def fingerprint(self) -> str:
        """Hash of the CSV and of every file's name, size and stamp; no image is read."""
        digest = hashlib.sha256(self.settings.model_dump_json().encode())
        if self.csv is not None:
            digest.update(read_bytes(self.csv))
        for file in list_files(self.root, _SUFFIXES):
            name = relative_to(file.uri, self.root)
            digest.update(f"{name}\0{file.size}\0{file.stamp}\0".encode())
        return digest.hexdigest()

    def rows(self) -> Iterator[SourceRow]:
        """Every row of the CSV, or every file of the class folders.

        Raises:
            DataError: the CSV cannot be read, lacks a column, or names a file outside of the
                folder; or there are no class folders.
        """
        return self._from_folders() if self.csv is None else self._from_csv(self.csv)

    def _from_csv(self, uri: str) -> Iterator[SourceRow]:
        wanted = self.settings
        text = _text(uri)
        lines = _lines(uri, text)
        columns = next(lines, (1, []))[1]
        self._check_columns(uri, columns)
        slices = [name for name in SLICES if name in columns]
        conflicting, again = self._repeated(uri, text, columns)
        for number, cells in lines:
            row = dict(zip(columns, cells, strict=False))
            name = row.get(wanted.file_column) or ""
            group = row.get(wanted.group_column) or ""
            verdict = _malformed(number, cells, columns, name)
            if verdict is None and posixpath.normpath(name) in conflicting:
                verdict = _CONFLICTING
            if verdict is None and number in again:
                verdict = _AGAIN
            yield SourceRow(
                # A line that names no file has no address but its own table's.
                uri=self._inside(name) if name and "\0" not in name else uri,
                file=name or f"line {number}",
                label=parse_label(row.get(wanted.label_column)),
                group=group,
                source=row.get(wanted.source_column or "") or _source_of(group),
                slices={key: row.get(key) or None for key in slices},
                verdict=verdict,
            )

    def _check_columns(self, uri: str, columns: Sequence[str]) -> None:
        for key in ("file_column", "label_column", "group_column", "source_column"):
            name = getattr(self.settings, key)
            if name is not None and columns.count(name) != 1:
                many = "has two columns" if name in columns else "has no column"
                hint = "; separate them by commas" if len(columns) == 1 else ""
                raise DataError(
                    f"{uri} {many} {name!r} (data.sources.{key}); "
                    f"it has: {', '.join(columns) or 'nothing'}{hint}"
                )

    def _repeated(self, uri: str, text: str, columns: Sequence[str]) -> tuple[set[str], set[int]]:
        """Files on several lines that differ in label or group; other lines that repeat one."""
        wanted = self.settings
        at = [columns.index(wanted.file_column)]
        at += [columns.index(wanted.label_column), columns.index(wanted.group_column)]
        hashes = array("q")  # eight bytes a line: names would cost gigabytes at ten million
        for _, cells in _body(uri, text):
            hashes.append(hash(posixpath.normpath(cells[at[0]])) if len(cells) > at[0] else 0)
        values, counts = np.unique(np.frombuffer(hashes, np.int64), return_counts=True)
        several = set(values[counts > 1].tolist())
        first: dict[str, list[int | str | None]] = {}
        conflicting: set[str] = set()
        again: set[int] = set()
        for number, cells in _body(uri, text) if several else ():
            if len(cells) != len(columns) or not cells[at[0]]:
                continue
            name = posixpath.normpath(cells[at[0]])
            if hash(name) not in several:
                continue
            said: list[int | str | None] = [parse_label(cells[at[1]]), cells[at[2]]]
            if first.setdefault(name, said) is not said:
                again.add(number)
                if first[name] != said:
                    conflicting.add(name)
        return conflicting, again

    def _inside(self, name: str) -> str:
        """Address of a file that the CSV names.

        Raises:
            DataError: it lies outside of the folder.
        """
        file = container_of(name) or name
        path = None if "://" in name else self._within(file)
        if path is None or not path.startswith(self.root.rstrip("/") + "/"):
            raise DataError(f"{self.settings.csv}: {name} points outside of {self.root}")
        return path + name.removeprefix(file)

    def _within(self, name: str) -> str | None:
        if is_remote(self.root):
            inner = posixpath.normpath(name)
            below = not inner.startswith(("/", "../")) and inner not in {".", ".."}
            return join(self.root, inner) if below else None
        parent, base = posixpath.split(name)
        if parent not in self._folders:
            self._folders[parent] = os.path.realpath(os.path.join(self.root, parent))
        path = os.path.join(self._folders[parent], base)
        # Links are followed, so that none leads out; the folder's were, once for all its files.
        return os.path.realpath(path) if base in {"", ".", ".."} or os.path.islink(path) else path

    def _from_folders(self) -> Iterator[SourceRow]:
        labels = {name: parse_label(name) for name in list_folders(self.root)}
        if all(label is None for label in labels.values()):
            raise DataError(
                f"{self.root} has no sub-folder named roadwork or none: create them, or give a CSV"
            )
        for folder, label in labels.items():
            if label is None:
                continue
            for found in list_files(join(self.root, folder), _SUFFIXES):
                file = PurePosixPath(relative_to(found.uri, self.root))
                yield SourceRow(
                    uri=found.uri,
                    file=str(file),
                    label=label,
                    # Not named after the class: a drive may lie in both class folders.
                    group=file.parts[1] if len(file.parts) > 2 else file.stem,
                    source="image_folder",
                )


_CONFLICTING = Verdict(
    "conflicting_line",
    "the CSV names it on several lines with different labels or groups: keep the right line",
)
_AGAIN = Verdict("listed_twice", "an earlier line of the CSV says the same", fault=False)


def _malformed(
    number: int, cells: Sequence[str], columns: Sequence[str], name: str
) -> Verdict | None:
    if len(cells) != len(columns):
        return Verdict(
            "malformed_line",
            f"line {number} has {len(cells)} cells, the header {len(columns)}: complete it, and "
            "put cells that hold commas in quotes",
        )
    if not name or "\0" in name:
        return Verdict("malformed_line", f"line {number} names no file: complete or remove it")
    return None


def _text(uri: str) -> str:
    data = read_bytes(uri)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{uri} is not UTF-8 (line {data[: error.start].count(10) + 1}): save the table as "
            "CSV with UTF-8 encoding"
        ) from None


def _lines(uri: str, text: str) -> Iterator[tuple[int, list[str]]]:
    """Lines of a CSV that are not blank, with their numbers; the header first.

    Raises:
        DataError: it is no CSV.
    """
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for cells in reader:
            if cells:
                yield reader.line_num, cells
    except csv.Error as error:
        raise DataError(
            f"{uri} is no CSV from line {reader.line_num} on ({error}): look for a quote that is "
            "not closed"
        ) from None


def _body(uri: str, text: str) -> Iterator[tuple[int, list[str]]]:
    return itertools.islice(_lines(uri, text), 1, None)


def _source_of(group: str) -> str:
    """``clips/boston`` comes from ``clips``; a group without a slash says nothing of its source."""
    source, slash, _ = group.partition("/")
    return source if slash else "image_folder"
