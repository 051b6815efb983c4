"""Fusion: copies, contradictions, look-alikes and the counts of it all."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadwork.data.embeddings import RECALL, near_embeddings
from roadwork.data.fusion import fuse
from roadwork.data.fusion_report import CopyCount, SourceCount, fusion_report
from roadwork.data.manifest import QUARANTINE, Manifest
from roadwork.errors import ConfigError, DataError
from roadwork.settings.data import FusionSettings
from tests.data import made

LOOK = 0x0123456789ABCDEF


def photo(number: int, drive: str, label: int = 1, **changes: Any) -> dict[str, Any]:
    """A row named after its number; all bytes differ unless ``content`` is given."""
    base = made.row(changes.pop("content", number), drive, label)
    return base | {"file": f"{number:03}.jpg", "uri": f"/nowhere/{number}.jpg"} | changes


def fused(
    rows: Sequence[dict[str, Any]], order: Sequence[int] | None = None, **chosen: Any
) -> Manifest:
    places = np.array(order if order is not None else [0] * len(rows))
    return fuse(made.table(rows), FusionSettings(**chosen), places)


def kept(manifest: Manifest) -> dict[str, str]:
    """Groups of the kept files."""
    table = manifest.table
    return dict(zip(table["file"].to_pylist(), table["group_id"].to_pylist(), strict=True))


def left_out(manifest: Manifest) -> dict[str, tuple[str, str]]:
    """For every copy the file that stays, and the reason."""
    names = dict(
        zip(
            manifest.table["sample_id"].to_pylist(), manifest.table["file"].to_pylist(), strict=True
        )
    )
    return {
        row["file"]: (names[row["kept"]], row["reason"]) for row in manifest.duplicates.to_pylist()
    }


def test_equal_bytes_and_equal_captures_are_one_photograph() -> None:
    manifest = fused(
        [
            photo(1, "a", capture="v/1/1"),
            photo(2, "b", content=1),
            photo(3, "c", capture="v/1/1"),
            photo(4, "d", capture="v/1/2"),
            photo(5, "e"),
            photo(6, "e"),
        ]
    )
    assert kept(manifest) == {"001.jpg": "a", "004.jpg": "d", "005.jpg": "e", "006.jpg": "e"}
    assert left_out(manifest) == {
        "002.jpg": ("001.jpg", "content"),
        "003.jpg": ("001.jpg", "capture"),
    }
    assert set(manifest.duplicates["group_id"].to_pylist()) == {"a"}
    assert manifest.duplicates["drive"].to_pylist() == ["b", "c"]


def test_one_photograph_through_a_third() -> None:
    """2 and 3 share neither bytes nor capture, but each is the same photograph as 1."""
    rows = [
        photo(1, "a", capture="v/1/1", width=10),
        photo(2, "b", content=1, city="Bonn", width=10),
        photo(3, "c", capture="v/1/1"),
    ]
    manifest = fused(rows)
    assert kept(manifest) == {"002.jpg": "a"}
    assert left_out(manifest) == {
        "001.jpg": ("002.jpg", "content"),
        "003.jpg": ("002.jpg", "capture"),
    }


@pytest.mark.parametrize(
    ("first", "second", "order", "stays"),
    [
        ({}, {}, (0, 0), "001.jpg"),
        ({}, {}, (1, 0), "002.jpg"),
        ({"city": "Bonn"}, {}, (1, 0), "002.jpg"),
        ({}, {"city": "Bonn"}, (0, 0), "002.jpg"),
        ({"width": 9999}, {"city": "Bonn"}, (0, 0), "002.jpg"),
        ({}, {"width": 65}, (0, 0), "002.jpg"),
        ({"width": 65}, {"width": 64}, (0, 0), "001.jpg"),
        ({"city": "Bonn", "weather": "Rain"}, {"city": "Bonn", "width": 65}, (0, 0), "001.jpg"),
    ],
)
def test_the_keeper_rule(
    first: dict[str, Any], second: dict[str, Any], order: tuple[int, int], stays: str
) -> None:
    rows = [photo(1, "a", capture="v/1/1", **first), photo(2, "b", capture="v/1/1", **second)]
    for rows_given, places in ((rows, order), (rows[::-1], order[::-1])):
        assert list(kept(fused(rows_given, places))) == [stays]


def test_contradictions_are_all_set_aside_and_join_nothing() -> None:
    manifest = fused(
        [
            photo(1, "a", 1),
            photo(2, "b", 0, content=1),
            photo(3, "b", 1, capture="v/1/1"),
            photo(4, "c", 0, capture="v/1/1"),
            photo(5, "a", 1),
            photo(6, "b", 0),
            photo(7, "c", 0, capture="v/1/2"),
        ]
    )
    assert kept(manifest) == {"005.jpg": "a", "006.jpg": "b", "007.jpg": "c"}
    rows = manifest.quarantine.to_pylist()
    assert [(row["file"], row["reason"], row["fault"]) for row in rows] == [
        (f"00{number}.jpg", "conflicting_label", True) for number in (1, 2, 3, 4)
    ]
    assert rows[0]["detail"].startswith("is the same photograph as 002.jpg (made), which has an")
    assert rows[1]["detail"].startswith("is the same photograph as 001.jpg")
    assert rows[3]["detail"].startswith("is the same photograph as 003.jpg")


def test_look_alikes_join_drives_and_stay() -> None:
    manifest = fused(
        [
            photo(1, "d", phash=LOOK),
            photo(2, "b", phash=LOOK ^ 0b1111),
            photo(3, "b"),
            photo(4, "c", phash=LOOK ^ 0b11111 << 40),
            photo(5, "a", phash=LOOK),
        ]
    )
    assert kept(manifest) == {
        "001.jpg": "a",
        "002.jpg": "a",
        "003.jpg": "a",
        "004.jpg": "c",
        "005.jpg": "a",
    }
    assert not manifest.duplicates.num_rows


def test_look_alikes_of_other_drives_can_be_set_aside() -> None:
    manifest = fused(
        [
            photo(1, "a", phash=LOOK),
            photo(2, "a", phash=LOOK ^ 1),  # a neighbour of 1: stays
            photo(3, "b", phash=LOOK ^ 2),
            photo(4, "b", phash=LOOK),
            photo(5, "b"),
        ],
        near_duplicates="drop",
    )
    assert list(kept(manifest)) == ["001.jpg", "002.jpg", "005.jpg"]
    assert left_out(manifest) == {"003.jpg": ("001.jpg", "near"), "004.jpg": ("001.jpg", "near")}


def test_the_end_of_a_chain_stays() -> None:
    """3 looks like 2, but 2 is gone: nothing that stays looks like 3."""
    flips = (0, 0b111, 0b111111)
    rows = [photo(n, f"drive-{n}", phash=LOOK ^ bits) for n, bits in enumerate(flips, start=1)]
    manifest = fused(rows, near_duplicates="drop")
    assert list(kept(manifest)) == ["001.jpg", "003.jpg"]
    assert left_out(manifest) == {"002.jpg": ("001.jpg", "near")}


def test_look_alikes_of_another_label_are_never_set_aside() -> None:
    rows = [
        photo(1, "a", 1, phash=LOOK),
        photo(2, "b", 0, phash=LOOK ^ 1),
        photo(3, "c", 1, phash=LOOK ^ 2),
        photo(4, "d", 1, phash=LOOK ^ 0xF0),  # looks like 1 alone
    ]
    manifest = fused(rows, near_duplicates="drop")
    assert list(kept(manifest)) == ["001.jpg", "002.jpg", "003.jpg"]
    assert left_out(manifest) == {"004.jpg": ("001.jpg", "near")}
    assert set(kept(manifest).values()) == {"a"}
    report = fusion_report(manifest)
    assert report.near_other_label == 3
    assert "001.jpg (label 1) and 002.jpg (label 0)" in report.near_other_label_examples
    assert "3 images look like one of another label" in report.warnings[-1]


def test_labels_that_differ_within_a_drive_are_no_dispute() -> None:
    """Works begin: the frames before and after look alike, and both labels are right."""
    rows = [photo(1, "a", 0, phash=LOOK), photo(2, "a", 1, phash=LOOK ^ 1)]
    report = fusion_report(fused(rows, near_duplicates="drop"))
    assert report.near_other_label == 0
    assert report.kept == 2


def test_a_copy_of_a_row_that_is_set_aside_points_to_the_one_that_stays() -> None:
    rows = [
        photo(1, "a", phash=LOOK),
        photo(2, "b", phash=LOOK ^ 1, capture="v/1/1"),
        photo(3, "c", phash=LOOK ^ (0xFFFF << 32), capture="v/1/1"),
    ]
    manifest = fused(rows, near_duplicates="drop")
    assert left_out(manifest) == {"002.jpg": ("001.jpg", "near"), "003.jpg": ("001.jpg", "near")}


distinct_looks = st.lists(st.integers(0, 2**10 - 1), unique=True, max_size=14)


@given(distinct_looks, st.data())
@settings(max_examples=60, deadline=None)
def test_thinning_is_that_of_going_through_the_rows(looks: list[int], data: st.DataObject) -> None:
    size = len(looks)
    drives = data.draw(st.lists(st.sampled_from("abcd"), min_size=size, max_size=size))
    labels = data.draw(st.lists(st.integers(0, 1), min_size=size, max_size=size))
    order = data.draw(st.lists(st.integers(0, 2), min_size=size, max_size=size))
    rows = [photo(n, drives[n], labels[n], phash=looks[n] * 0x40100401) for n in range(size)]

    def near(i: int, j: int) -> bool:
        return drives[i] != drives[j] and (rows[i]["phash"] ^ rows[j]["phash"]).bit_count() <= 6

    disputed = {
        i for i in range(size) for j in range(size) if near(i, j) and labels[i] != labels[j]
    }
    stay: list[int] = []
    gone: dict[str, tuple[str, str]] = {}
    for i in sorted(range(size), key=lambda n: (order[n], n)):
        better = [j for j in stay if near(i, j) and labels[i] == labels[j]]
        if better and i not in disputed:
            gone[rows[i]["file"]] = (rows[better[0]]["file"], "near")
        else:
            stay.append(i)
    manifest = fused(rows, order, near_duplicates="drop", near_duplicate_distance=6)
    assert left_out(manifest) == gone
    assert len(manifest) == len(stay)


many_rows = st.lists(
    st.tuples(
        st.integers(0, 9),  # content
        st.sampled_from("abcde"),  # drive
        st.sampled_from([None, "v/1/1", "v/1/2"]),
        st.sampled_from([LOOK, LOOK ^ 1, LOOK ^ 0xFF, 0, 3]),
        st.sampled_from(["one", "two"]),
        st.sampled_from([1, 1, 1, 0]),
    ),
    max_size=14,
)


def rows_of(drawn: Sequence[tuple[Any, ...]]) -> list[dict[str, Any]]:
    return [
        photo(n, drive, label, content=content, capture=capture, phash=look, source=source)
        for n, (content, drive, capture, look, source, label) in enumerate(drawn)
    ]


@given(many_rows, st.sampled_from(["group", "drop"]), st.randoms())
@settings(max_examples=80, deadline=None)
def test_nothing_is_lost_and_what_belongs_together_is_one_group(
    drawn: list[tuple[Any, ...]], near: str, random: Any
) -> None:
    rows = rows_of(drawn)
    order = [["one", "two"].index(row["source"]) for row in rows]
    manifest = fused(rows, order, near_duplicates=near)
    parts = [manifest.table, manifest.duplicates, manifest.quarantine]
    names = [file for part in parts for file in part["file"].to_pylist()]
    assert sorted(names) == [row["file"] for row in rows]
    assert manifest.table["file"].to_pylist() == sorted(manifest.table["file"].to_pylist())

    stays = {row["sample_id"]: row for row in manifest.table.to_pylist()}
    assert len(stays) == len(manifest)
    believed = manifest.table.to_pylist() + manifest.duplicates.to_pylist()
    for copy in manifest.duplicates.to_pylist():
        assert stays[copy["kept"]]["group_id"] == copy["group_id"]
    for a in believed:
        for b in believed:
            same = a["sha256"] == b["sha256"] or (a["capture"] and a["capture"] == b["capture"])
            alike = (a["phash"] ^ b["phash"]).bit_count() <= 4
            if same or alike or a["drive"] == b["drive"]:
                assert a["group_id"] == b["group_id"]
            if same:
                assert a["label"] == b["label"]
    mixed = list(range(len(rows)))
    random.shuffle(mixed)
    again = fused([rows[i] for i in mixed], [order[i] for i in mixed], near_duplicates=near)
    assert again.content_hash == manifest.content_hash


@given(many_rows, st.sampled_from(["group", "drop"]))
@settings(max_examples=40, deadline=None)
def test_the_counts_of_the_report_add_up(drawn: list[tuple[Any, ...]], near: str) -> None:
    rows = rows_of(drawn)
    manifest = fused(rows, near_duplicates=near)
    report = fusion_report(manifest)
    assert report.offered == len(rows)
    assert report.kept == len(manifest)
    assert sum(report.duplicates_by_reason.values()) == manifest.duplicates.num_rows
    quarantined = sum(sum(part.values()) for part in report.quarantined.values())
    assert quarantined == manifest.quarantine.num_rows
    for name, source in report.sources.items():
        assert source.offered == sum(row["source"] == name for row in rows)
        assert source.offered == (
            source.kept + source.duplicates + source.quarantined + source.left_out
        )
    assert report.groups <= report.drives
    assert str(report.offered) in report.text
    assert report.html.startswith("<!doctype html>")


def test_the_report_by_hand() -> None:
    rows = [
        photo(1, "a", source="one", capture="v/1/1"),
        photo(2, "b", source="two", capture="v/1/1"),
        photo(3, "b", source="two", content=1),
        photo(4, "c", source="two", label=0),
        photo(5, "d", source="two", label=1, content=4),
        photo(6, "<e>", source="two"),
    ]
    manifest = fused(rows, [0, 1, 1, 1, 1, 1])
    unreadable = {"file": "7", "source": "one", "reason": "corrupt", "detail": "", "fault": True}
    vague = unreadable | {"file": "8", "reason": "ambiguous", "fault": False}
    more = pa.Table.from_pylist([unreadable, vague], schema=QUARANTINE)
    whole = pa.concat_tables([manifest.quarantine, more])
    report = fusion_report(Manifest(manifest.table, whole, manifest.duplicates))
    assert report.sources == {
        "one": SourceCount(offered=3, kept=1, duplicates=0, quarantined=1, left_out=1),
        "two": SourceCount(offered=5, kept=1, duplicates=2, quarantined=2, left_out=0),
    }
    assert report.quarantined == {"conflicting_label": {"two": 2}, "corrupt": {"one": 1}}
    assert report.left_out == {"ambiguous": {"one": 1}}
    assert report.duplicates == (
        CopyCount(reason="capture", source="two", kept_source="one", images=1),
        CopyCount(reason="content", source="two", kept_source="one", images=1),
    )
    assert (report.drives, report.groups) == (3, 2)
    assert (report.groups_merged, report.groups_across_sources) == (1, 1)
    assert json.loads(report.to_json())["offered"] == 8
    assert "&lt;e&gt;" in report.html
    assert "<e>" not in report.html
    assert "8 rows offered, 2 kept" in report.text


def test_a_chain_of_drives_is_warned_of() -> None:
    rows = [photo(n, f"drive-{n:02}", phash=LOOK ^ (1 << n)) for n in range(3)]
    rows += [photo(n, f"drive-{n:02}") for n in range(3, 40)]
    report = fusion_report(fused(rows))
    assert report.largest_groups[0].images == 3
    assert report.largest_groups[0].drives == 3
    (warning,) = report.warnings
    assert "the group drive-00 holds 8% of the images, merged from 3 drives" in warning
    alone = [photo(n, f"drive-{n // 10}") for n in range(40)]
    assert fusion_report(fused(alone)).warnings == ()


def test_a_manifest_whose_copies_point_nowhere() -> None:
    manifest = fused([photo(1, "a"), photo(2, "b", content=1)])
    with pytest.raises(DataError, match="1 duplicates name a kept row"):
        fusion_report(
            Manifest(manifest.table.slice(0, 0), manifest.quarantine, manifest.duplicates)
        )


def test_embeddings_join_what_hashes_do_not() -> None:
    rows = [photo(1, "a"), photo(2, "b"), photo(3, "c"), photo(4, "c", content=1)]
    asked: list[Sequence[str]] = []

    def embed(uris: Sequence[str]) -> np.ndarray:
        asked.append(uris)
        return np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.1]])

    table, order = made.table(rows), np.zeros(4, int)
    for near, copies in (("group", {"004.jpg"}), ("drop", {"003.jpg", "004.jpg"})):
        chosen = FusionSettings(embedding_cosine=0.99, near_duplicates=near)  # type: ignore[arg-type]
        manifest = fuse(table, chosen, order, embed)
        assert {row["group_id"] for row in manifest.table.to_pylist()} == {"a", "b"}
        assert set(manifest.duplicates["file"].to_pylist()) == copies
    assert asked[0] == ["/nowhere/1.jpg", "/nowhere/2.jpg", "/nowhere/3.jpg"]
    with pytest.raises(ConfigError, match="embedding_cosine"):
        fuse(table, FusionSettings(embedding_cosine=0.9), order)


def pairs_at(cosine: float, count: int, dimensions: int = 48) -> np.ndarray:
    """Vectors 2k and 2k + 1 have the cosine; all other pairs are far apart."""
    rng = np.random.default_rng(0)
    first = rng.standard_normal((count, dimensions))
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    across = rng.standard_normal((count, dimensions))
    across -= (across * first).sum(axis=1, keepdims=True) * first
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    second = cosine * first + np.sqrt(1 - cosine**2) * across
    lengths = rng.uniform(0.1, 10, (2 * count, 1))
    return np.stack([first, second], axis=1).reshape(2 * count, dimensions) * lengths


@pytest.mark.parametrize("cosine", [0.9, 0.95])
def test_the_recall_of_embeddings_at_the_threshold(cosine: float) -> None:
    count = 4000
    found = near_embeddings(pairs_at(cosine + 1e-5, count), cosine)
    assert (found[:, 1] == found[:, 0] + 1).all()
    assert (found[:, 0] % 2 == 0).all()
    # Three standard deviations of the binomial below what is promised.
    assert len(found) >= count * RECALL - 3 * np.sqrt(count * RECALL * (1 - RECALL))
    assert len(near_embeddings(pairs_at(cosine - 1e-3, count), cosine)) == 0


def test_embeddings_against_brute_force() -> None:
    rng = np.random.default_rng(5)
    centres = rng.standard_normal((40, 16))
    vectors = np.repeat(centres, 10, axis=0) + 0.15 * rng.standard_normal((400, 16))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    i, j = np.triu_indices(400, 1)
    cosines = (unit[i] * unit[j]).sum(axis=1)
    clear = np.abs(cosines - 0.97) > 1e-6
    near = clear & (cosines >= 0.97)
    wanted = set(zip(i[near].tolist(), j[near].tolist(), strict=True))
    found = {(a, b) for a, b in near_embeddings(vectors, 0.97).tolist()}
    assert found <= wanted
    assert len(found) >= 0.995 * len(wanted)  # pairs of one cluster are missed together
    assert len(wanted) > 500


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_embeddings_that_are_none(bad: float) -> None:
    vectors = np.ones((3, 4))
    vectors[1] = bad
    with pytest.raises(DataError, match=r"1 images are zero or not finite \(row 1"):
        near_embeddings(vectors, 0.9)
    assert near_embeddings(np.zeros((0, 4)), 0.9).shape == (0, 2)
