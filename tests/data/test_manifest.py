"""The manifest and the sets cut from it: hashes, round trips, roles."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from roadwork.data.manifest import (
    DUPLICATES,
    QUARANTINE,
    SCHEMA,
    CalibrationSet,
    Manifest,
    Role,
    SampleSet,
    Split,
    TestSet,
    TrainSet,
    table_hash,
)
from roadwork.errors import DataError
from tests.data import made

ROWS = [made.row(n) for n in range(6)]


def with_quarantine() -> Manifest:
    bad = {"file": "x.jpg", "source": "made", "reason": "corrupt", "detail": "cut", "fault": True}
    copy = made.row(1, file="copy.jpg") | {"kept": made.row(1)["sample_id"], "reason": "content"}
    return Manifest(
        made.table(ROWS),
        pa.Table.from_pylist([bad, bad | {"file": "y.jpg"}], schema=QUARANTINE),
        pa.Table.from_pylist([copy], schema=DUPLICATES),
    )


def test_round_trip(tmp_path: Path) -> None:
    manifest = with_quarantine()
    manifest.save(tmp_path)
    loaded = Manifest.load(tmp_path)
    assert loaded.table.equals(manifest.table)
    assert loaded.content_hash == manifest.content_hash
    assert loaded.quarantine_counts() == {"corrupt": 2}
    assert loaded.duplicates.column("file").to_pylist() == ["copy.jpg"]


def test_the_hash_is_of_content_not_of_layout() -> None:
    whole = made.manifest(ROWS)
    chunked = pa.concat_tables([made.table(ROWS[:2]), made.table(ROWS[2:])])
    assert Manifest(chunked, whole.quarantine, whole.duplicates).content_hash == whole.content_hash


@pytest.mark.parametrize("column", [name for name in SCHEMA.names if name != "label"])
def test_any_changed_cell_changes_the_hash(column: str) -> None:
    value = ROWS[3].get(column)
    other = value + 1 if isinstance(value, (int, float)) else f"{value}!"
    changed = [*ROWS[:3], ROWS[3] | {column: other}, *ROWS[4:]]
    assert made.manifest(changed).content_hash != made.manifest(ROWS).content_hash


def strange(table: pa.Table) -> pa.Table:
    """The same values behind other buffers: chunks, slices, rubbish where values are absent."""
    arrays = []
    for column in table.columns:
        chunk = pa.concat_arrays([column.chunk(0), *column.chunks]).slice(len(column.chunk(0)))
        if pa.types.is_string(chunk.type) and chunk.null_count:
            filled = chunk.fill_null("rubbish")
            # A mask over full slots leaves the texts in the buffer.
            buffers = [chunk.is_valid().buffers()[1], *filled.buffers()[1:]]
            chunk = pa.Array.from_buffers(chunk.type, len(chunk), buffers)
        arrays.append(pa.chunked_array([chunk.slice(0, 1), chunk.slice(1, 0), chunk.slice(1)]))
    return pa.Table.from_arrays(arrays, schema=table.schema)


def test_the_hash_sees_values_and_not_buffers() -> None:
    table = made.table([row | {"city": [None, "Bonn", ""][n % 3]} for n, row in enumerate(ROWS)])
    other = strange(table)
    assert other.equals(table)
    assert table_hash(other) == table_hash(table)
    coded = table.set_column(
        table.schema.get_field_index("source"), "source", table["source"].dictionary_encode()
    )
    assert table_hash(coded) == table_hash(table)


def test_the_hash_is_that_of_the_definition() -> None:
    """So that hashes of stored manifests do not change by accident."""
    table = pa.table({"a": pa.array(["x", None, "yz"]), "b": pa.array([1, 2, -1], pa.int32())})
    parts = [
        (3).to_bytes(8, "little"),
        b"a\0",
        bytes([0b10100000]),
        b"text",
        np.array([1, 0, 2], "<i8").tobytes(),
        b"xyz",
        b"b\0",
        bytes([0b11100000]),
        b"int32",
        np.array([1, 2, -1], "<i4").tobytes(),
    ]
    assert table_hash(table) == hashlib.sha256(b"".join(parts)).hexdigest()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["ab", "c"], ["a", "bc"]),
        (["", None], [None, ""]),
        (["a"], ["a", None]),
        ([], [None]),
    ],
)
def test_texts_that_only_look_alike(one: list[str | None], other: list[str | None]) -> None:
    tables = [pa.table({"a": pa.array(values, pa.string())}) for values in (one, other)]
    assert table_hash(tables[0]) != table_hash(tables[1])


def test_a_tables_round_trip_through_parquet_keeps_its_hash(tmp_path: Path) -> None:
    table = made.table([row | {"city": [None, "Bonn", ""][n % 3]} for n, row in enumerate(ROWS)])
    for version in ("1.0", "2.6"):
        pq.write_table(table, tmp_path / "t.parquet", version=version, row_group_size=2)
        again = pq.read_table(tmp_path / "t.parquet", schema=table.schema)
        assert table_hash(again) == table_hash(table)


def test_quarantine_counts_too() -> None:
    assert with_quarantine().content_hash != made.manifest(ROWS).content_hash


def test_null_is_not_the_word_none() -> None:
    a = made.manifest([made.row(1, city=None)])
    b = made.manifest([made.row(1, city="None")])
    assert a.content_hash != b.content_hash


def test_wrong_columns_are_named() -> None:
    with pytest.raises(DataError, match="got file, label"):
        Manifest(
            pa.table({"file": ["a"], "label": [1]}),
            pa.Table.from_pylist([], schema=QUARANTINE),
            made.table([]),
        )


@pytest.mark.parametrize("kind", made.ROLES)
def test_sets_round_trip_and_know_their_role(kind: type[SampleSet], tmp_path: Path) -> None:
    part = kind(made.table(ROWS))
    part.save(tmp_path)
    assert kind.load(tmp_path).content_hash == part.content_hash
    for other in made.ROLES:
        if other is not kind:
            with pytest.raises(DataError, match=f"holds the {kind.role} set, not {other.role}"):
                other.load(tmp_path)
            assert other(made.table(ROWS)).content_hash != part.content_hash


def test_views_of_the_rows() -> None:
    part = TrainSet(made.table([made.row(4, weather="Rain"), made.row(5, city="Bonn")]))
    assert len(part) == 2
    assert part.labels.tolist() == [0, 1]
    assert part.groups.tolist() == ["drive-1", "drive-1"]
    assert part.files == ["4.jpg", "5.jpg"]
    assert part.uris == ["/nowhere/4.jpg", "/nowhere/5.jpg"]
    assert part.column("weather") == ["Rain", None]
    assert part.column("city") == [None, "Bonn"]


def test_an_empty_set_is_refused() -> None:
    with pytest.raises(DataError, match="the test set is empty"):
        TestSet(made.table([]))


def test_groups_and_drives_are_both_identified() -> None:
    part = CalibrationSet(made.table([made.row(1) | {"group_id": "a", "drive": "b"}]))
    assert len(part.ids.groups) == 2
    assert part.name_overlap(part.sample_ids, part.ids.groups) == (["1.jpg"], ["a", "b"])
    assert part.name_overlap(part.sample_ids[:0], part.ids.groups[:0]) == ([], [])


def test_groups_by_number() -> None:
    part = TrainSet(made.table([made.row(n, group) for n, group in enumerate("cabca")]))
    assert part.group_codes.tolist() == [2, 0, 1, 2, 0]
    assert part.groups.tolist() == list("cabca")


@pytest.mark.parametrize("wrong", ["", "xy" * 8, "ab" * 7, "ab" * 9])
def test_a_sample_id_that_is_none(wrong: str) -> None:
    part = TrainSet(made.table([made.row(1), made.row(2) | {"sample_id": wrong}]))
    with pytest.raises(DataError, match="16 hexadecimal digits"):
        _ = part.sample_ids


def test_at_most_twenty_names_of_an_overlap() -> None:
    part = TrainSet(made.table([made.row(n, f"group-{n:02}") for n in range(50)]))
    files, names = part.name_overlap(part.sample_ids, part.ids.groups)
    assert files == [f"{n}.jpg" for n in range(20)]
    assert names == [f"group-{n:02}" for n in range(20)]


def test_five_roles_in_four_splits() -> None:
    assert [role.split for role in Role] == [
        Split.TRAIN,
        Split.VAL_SELECT,
        Split.VAL_CALIB,
        Split.VAL_CALIB,
        Split.VAL_TEST,
    ]
