"""The manifest and the sets cut from it: hashes, round trips, roles."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from roadwork.data.manifest import (
    QUARANTINE,
    SCHEMA,
    CalibrationSet,
    Manifest,
    Role,
    SampleSet,
    Split,
    TestSet,
    TrainSet,
)
from roadwork.errors import DataError
from tests.data import made

ROWS = [made.row(n) for n in range(6)]


def with_quarantine() -> Manifest:
    bad = {"file": "x.jpg", "source": "made", "reason": "corrupt", "detail": "cut off"}
    return Manifest(
        made.table(ROWS),
        pa.Table.from_pylist([bad, bad | {"file": "y.jpg"}], schema=QUARANTINE),
        made.table([made.row(1, file="copy.jpg")]),
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
    other = value + 1 if isinstance(value, int) else f"{value}!"
    changed = [*ROWS[:3], ROWS[3] | {column: other}, *ROWS[4:]]
    assert made.manifest(changed).content_hash != made.manifest(ROWS).content_hash


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


def test_five_roles_in_four_splits() -> None:
    assert [role.split for role in Role] == [
        Split.TRAIN,
        Split.VAL_SELECT,
        Split.VAL_CALIB,
        Split.VAL_CALIB,
        Split.VAL_TEST,
    ]
