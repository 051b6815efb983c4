"""New data is told from old: by content, by group, through copies, and whole groups at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from roadwork.data.exposure import Exposure, Use
from roadwork.data.manifest import DUPLICATES, Manifest, TrainSet
from roadwork.data.seen import set_aside_seen, write_seen
from roadwork.errors import DataError, LeakageError
from tests.data.made import manifest, row, table


def exposed(*rows: dict[str, Any], use: Use = Use.TRAIN) -> Exposure:
    return Exposure.of(use, TrainSet(table(rows)))


def files(found: Manifest) -> list[str]:
    return found.table.column("file").to_pylist()


def details(found: Manifest) -> dict[str, str]:
    rows = found.quarantine.to_pylist()
    assert {entry["reason"] for entry in rows} == {"seen_by_model"}
    assert not any(entry["fault"] for entry in rows)
    return {entry["file"]: entry["detail"] for entry in rows}


def test_data_that_is_new_stays_as_it_is() -> None:
    new = manifest([row(number) for number in range(8)])
    assert set_aside_seen(new, exposed(row(100)), "model") is new


def test_a_seen_image_takes_its_group_with_it() -> None:
    new = manifest([row(0, "a"), row(1, "a"), row(2, "b")])
    # Seen under another name of its group: only the content tells.
    found = set_aside_seen(new, exposed(row(1, "elsewhere")), "model")
    assert files(found) == ["2.jpg"]
    assert details(found) == {
        "0.jpg": "it shares a group with 1.jpg, which was seen",
        "1.jpg": "its content was used before (train)",
    }


@pytest.mark.parametrize("column", ["drive", "group_id"])
def test_a_seen_group_is_recognised_by_either_of_its_names(column: str) -> None:
    new = manifest([row(0, "a"), row(1, "a", **{column: "known"}), row(2, "b")])
    found = set_aside_seen(new, exposed(row(50, "known"), use=Use.SELECT), "model")
    expected = {"1.jpg": "its group known was used before (select)"}
    if column == "drive":
        expected["0.jpg"] = "it shares a group with 1.jpg, which was seen"
        assert files(found) == ["2.jpg"]
    else:
        assert files(found) == ["0.jpg", "2.jpg"]
    assert details(found) == expected


def test_a_copy_that_was_seen_counts_for_the_row_that_was_kept() -> None:
    kept, other = row(0, "a"), row(2, "b")
    copies = [
        {**row(7, "a"), "kept": kept["sample_id"], "reason": "near"},
        {**row(8, "b"), "kept": other["sample_id"], "reason": "near"},
    ]
    plain = manifest([kept, row(1, "a"), other])
    new = Manifest(plain.table, plain.quarantine, pa.Table.from_pylist(copies, schema=DUPLICATES))
    found = set_aside_seen(new, exposed(row(7, "elsewhere")), "model")
    assert files(found) == ["2.jpg"]
    assert found.duplicates.column("file").to_pylist() == ["8.jpg"]
    assert details(found) == {
        "0.jpg": "it is kept for its copy 7.jpg: its content was used before (train)",
        "1.jpg": "it shares a group with 0.jpg, which was seen",
        "7.jpg": "a copy of 0.jpg",
    }


def test_nothing_is_lost() -> None:
    new = manifest([row(number) for number in range(40)])
    found = set_aside_seen(new, exposed(*[row(n) for n in range(0, 40, 8)]), "model")
    assert len(found) + found.quarantine.num_rows == 40
    assert not set(files(found)) & set(details(found))


def test_it_can_stop_instead() -> None:
    new = manifest([row(0), row(9)])
    with pytest.raises(LeakageError, match=r"1 of 2 new images were seen by the model \(0.jpg"):
        set_aside_seen(new, exposed(row(0)), "model", stop=True)


def test_nothing_new_is_an_error() -> None:
    new = manifest([row(0), row(1)])
    with pytest.raises(DataError, match="nothing is left"):
        set_aside_seen(new, exposed(row(0)), "model")


def test_the_list_is_a_table(tmp_path: Path) -> None:
    new = manifest([row(0), row(9)])
    path = write_seen(set_aside_seen(new, exposed(row(0)), "model"), tmp_path / "seen.csv")
    head, line = path.read_text().splitlines()
    assert head == '"file","source","reason","detail"'
    assert line.startswith('"0.jpg","made","seen_by_model"')
    assert len(write_seen(new, path).read_text().splitlines()) == 1
