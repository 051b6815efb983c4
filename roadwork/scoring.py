"""Batch scoring: a bundle's answers for many files, in one Parquet file that is whole or absent.

A file that cannot be read never stops the others and is never left out in silence: it goes to a
second Parquet file, the quarantine, with its reason.
"""

from __future__ import annotations

import csv
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from roadwork.data.decode import UnreadableImage
from roadwork.errors import ConfigError, DataError
from roadwork.predictor import Predictor

__all__ = ["ANSWERS", "REFUSED", "ScoringSummary", "list_images", "score_files"]

ANSWERS = pa.schema(
    [
        pa.field("file", pa.string(), nullable=False),
        pa.field("probability", pa.float64(), nullable=False),
        pa.field("label", pa.string(), nullable=False),
        pa.field("prediction_set", pa.list_(pa.string()), nullable=False),
        pa.field("defer", pa.bool_(), nullable=False),
    ]
)
"""Columns of the answers; the file's metadata names the bundle, the coverage and the engine."""

REFUSED = pa.schema(
    [
        pa.field("file", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),
    ]
)
"""Columns of the quarantine."""

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
_CHUNK = 1024


@dataclass(frozen=True)
class ScoringSummary:
    """What was written.

    Attributes:
        answered: rows of the answers.
        deferred: how many of them a person should look at.
        refused: rows of the quarantine.
        out: the file of answers.
        quarantine: the file of refusals; None when nothing was refused.
    """

    answered: int
    deferred: int
    refused: int
    out: Path
    quarantine: Path | None


def list_images(source: Path) -> tuple[Path, list[str]]:
    """The folder and the names inside it: of a folder's image files, or of a CSV's ``file`` column.

    Args:
        source: a folder, searched with its sub-folders; or a CSV whose names are relative to it.

    Raises:
        ConfigError: there is no such folder or file, or the CSV has no column ``file``.
        DataError: it holds no image.
    """
    if source.is_dir():
        names = sorted(
            path.relative_to(source).as_posix()
            for path in source.rglob("*")
            if path.suffix.lower() in SUFFIXES and path.is_file()
        )
        folder = source
    elif source.is_file():
        with source.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if "file" not in (reader.fieldnames or ()):
                raise ConfigError(
                    f"{source} has no column `file`; it has: "
                    f"{', '.join(reader.fieldnames or ()) or 'nothing'}"
                )
            names = [row["file"] for row in reader if row["file"]]
        folder = source.parent
    else:
        raise ConfigError(f"there is no folder or CSV {source}")
    if not names:
        raise DataError(f"{source} holds no images ({', '.join(sorted(SUFFIXES))})")
    return folder, names


def quarantine_path(out: Path) -> Path:
    """Where the refusals of ``out`` go."""
    return out.with_name(f"{out.stem}.quarantine.parquet")


def score_files(
    predictor: Predictor,
    folder: Path,
    names: Sequence[str],
    out: Path,
    update: Callable[[int, int], None] | None = None,
) -> ScoringSummary:
    """Answer every file and write the answers; files appear complete or not at all.

    Args:
        predictor: an opened bundle.
        folder: where the files are.
        names: their names inside the folder, as they will stand in the column ``file``.
        out: Parquet file of the answers, replaced when it exists; the quarantine goes beside it,
            and one that is left from earlier is removed.
        update: told (done, total) after every file.

    Raises:
        DataError: not one file could be answered (the quarantine is written all the same), or the
            disk is full.
    """
    about = {
        "roadwork.model": predictor.bundle.hash,
        "roadwork.coverage": repr(round(1.0 - predictor.bundle.conformal.alpha, 12)),
        "roadwork.engine": predictor.engine.name,
    }
    refused: list[dict[str, str]] = []
    answered = deferred = 0
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as partial:
            answers, refusals = Path(partial, "answers"), Path(partial, "refusals")
            rows: list[dict[str, Any]] = []
            with pq.ParquetWriter(answers, ANSWERS.with_metadata(about)) as writer:
                results = predictor.predict_each(folder / name for name in names)
                for done, (name, result) in enumerate(zip(names, results, strict=True), start=1):
                    if isinstance(result, UnreadableImage):
                        refused.append(
                            {"file": name, "reason": str(result.reason), "detail": result.detail}
                        )
                    else:
                        rows.append({"file": name, **result.model_dump(include=_FIELDS)})
                        answered, deferred = answered + 1, deferred + result.defer
                    if len(rows) >= _CHUNK or (rows and done == len(names)):
                        writer.write_table(pa.Table.from_pylist(rows, schema=ANSWERS))
                        rows.clear()
                    if update:
                        update(done, len(names))
            beside = quarantine_path(out)
            if refused:
                pq.write_table(pa.Table.from_pylist(refused, schema=REFUSED), refusals)
                os.replace(refusals, beside)
            else:
                beside.unlink(missing_ok=True)
            if answered:
                os.replace(answers, out)
    except OSError as error:
        raise DataError(f"cannot write {out}: {error.strerror}; no answers were written") from None
    if not answered:
        raise DataError(
            f"not one of {len(names)} files could be answered; the reasons are in {beside}. For "
            f"example {refused[0]['file']}: {refused[0]['detail']}"
        )
    return ScoringSummary(answered, deferred, len(refused), out, beside if refused else None)


_FIELDS = set(ANSWERS.names) - {"file"}
