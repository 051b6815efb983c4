"""Data sets as folders: written whole or not at all, and movable with the project around them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from roadwork.data.manifest import Manifest, Role, SampleSet
from roadwork.data.splits import SETS, Splits
from roadwork.errors import ConfigError, DataError

__all__ = [
    "load_manifest",
    "load_set",
    "load_splits",
    "new_folder",
    "relative_addresses",
    "save_splits",
]


@contextmanager
def new_folder(to: Path) -> Iterator[Path]:
    """A folder to write into, which takes its name when the context ends without an error.

    Raises:
        ConfigError: there is a file of that name, or a folder that is not empty.
    """
    if to.exists() and not (to.is_dir() and next(to.iterdir(), None) is None):
        raise ConfigError(f"{to} is there already: name another folder, or delete it")
    to.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix=f".{to.name}.", suffix=".partial", dir=to.parent
    ) as made:
        partial = Path(made, "new")
        partial.mkdir()
        yield partial
        if to.exists():
            to.rmdir()
        partial.rename(to)


def relative_addresses(manifest: Manifest, base: Path) -> Manifest:
    """The manifest with addresses below a folder written relative to it.

    Absolute paths hold on one machine alone. Relative ones hold wherever the project's folder is
    copied or checked out, as long as commands run in it. Other addresses are kept.
    """
    root = f"{base.resolve().as_posix().rstrip('/')}/"
    return replace(
        manifest,
        table=_relative(manifest.table, root),
        duplicates=_relative(manifest.duplicates, root),
    )


def _relative(table: pa.Table, root: str) -> pa.Table:
    index = table.schema.get_field_index("uri")
    uris = table.column("uri")
    inside = pc.starts_with(uris, root)  # pyright: ignore[reportAttributeAccessIssue]
    short = pc.utf8_slice_codeunits(  # pyright: ignore[reportAttributeAccessIssue]
        uris, len(root), None
    )
    changed = pc.if_else(inside, short, uris)  # pyright: ignore[reportAttributeAccessIssue]
    return table.set_column(index, table.schema.field(index), changed)


def load_manifest(folder: Path) -> Manifest:
    """The manifest of a folder that ``roadwork data ingest`` wrote.

    Raises:
        DataError: the folder holds none.
    """
    if not (folder / "table.parquet").is_file():
        raise DataError(
            f"{folder} holds no manifest (table.parquet): `roadwork data ingest --to {folder}` "
            "writes one"
        )
    return Manifest.load(folder)


def save_splits(splits: Splits, folder: Path) -> None:
    """Write each set into a folder named as its role."""
    for part in splits.each():
        inner = folder / part.role
        inner.mkdir()
        part.save(inner)


def load_set(folder: Path) -> SampleSet:
    """The set of one folder, of the type that its own file says.

    Raises:
        DataError: the folder holds none.
    """
    path = folder / "samples.parquet"
    if not path.is_file():
        raise DataError(
            f"{folder} holds no set (samples.parquet): name a folder of one role, such as "
            f"{folder / Role.TRAIN}, that `roadwork data split` wrote"
        )
    role = (pq.read_schema(path).metadata or {}).get(b"role", b"").decode()
    if role not in set(Role):
        raise DataError(f"{path} does not say which of the five sets it is: split again")
    return SETS[Role(role)].load(folder)


def load_splits(folder: Path) -> Splits:
    """The five sets of a folder that ``roadwork data split`` wrote.

    Raises:
        DataError: one of them is missing.
    """
    missing = [role for role in Role if not (folder / role / "samples.parquet").is_file()]
    if missing:
        raise DataError(
            f"{folder} lacks the {', '.join(missing)} set: `roadwork data split --to {folder}` "
            "writes all five"
        )
    return Splits(**{role.value: SETS[role].load(folder / role) for role in Role})  # pyright: ignore[reportArgumentType]
