"""NATIX contains CMU ROADWork: both are written with photographs in common, and fused."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pytest

from roadwork.data.fusion_report import fusion_report
from roadwork.data.ingest import ingest
from roadwork.data.manifest import Manifest
from roadwork.data.scenes import SceneSettings
from roadwork.data.scenes.formats.cmu_roadwork import write_cmu_roadwork
from roadwork.data.scenes.formats.natix import Overlap, write_natix
from roadwork.data.scenes.formats.plan import WrittenPlan
from roadwork.data.sources.cmu_roadwork import CmuRoadwork
from roadwork.data.sources.natix import Natix
from roadwork.data.splits import cut
from roadwork.errors import DataError
from roadwork.settings import (
    CmuRoadworkSource,
    DataSettings,
    FusionSettings,
    NatixSource,
    SplitSettings,
)

SCENES = SceneSettings(seed=1, drives=60, frames=(2, 4), width=160, height=90)
OVERLAP = Overlap(capture=3, content=2, same=2, near=3)
SHARD = "data/train-00000-of-00002.parquet"
Name = tuple[str, str]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, WrittenPlan]:
    root = tmp_path_factory.mktemp("overlap")
    plan = write_cmu_roadwork(root / "cmu_roadwork", SCENES)
    return root, plan + write_natix(root / "natix", SCENES, OVERLAP)


def fused(
    root: Path,
    kinds: Sequence[str],
    near_duplicates: Literal["group", "drop"] = "group",
    on_bad_row: Literal["quarantine", "raise"] = "quarantine",
) -> Manifest:
    settings = {
        "cmu_roadwork": CmuRoadworkSource(root=str(root / "cmu_roadwork")),
        "natix": NatixSource(root=str(root / "natix")),
    }
    openers = {"cmu_roadwork": CmuRoadwork, "natix": Natix}
    data = DataSettings(
        sources=tuple(settings[kind] for kind in kinds),
        fusion=FusionSettings(near_duplicates=near_duplicates),
        on_bad_row=on_bad_row,
    )
    return ingest([openers[kind](settings[kind]) for kind in kinds], data)


@pytest.fixture(scope="module")
def grouped(written: tuple[Path, WrittenPlan]) -> Manifest:
    return fused(written[0], ("cmu_roadwork", "natix"))


def by_name(rows: list[dict[str, Any]]) -> dict[Name, dict[str, Any]]:
    return {(row["source"], row["file"]): row for row in rows}


def test_nothing_is_lost(written: tuple[Path, WrittenPlan], grouped: Manifest) -> None:
    kept = by_name(grouped.table.to_pylist())
    copies = by_name(grouped.duplicates.to_pylist())
    assert grouped.quarantine.num_rows == 0
    assert not set(kept) & set(copies)
    assert set(kept) | set(copies) == {(row.source, row.file) for row in written[1].rows}


def test_every_planted_copy_is_found_and_nothing_else(
    written: tuple[Path, WrittenPlan], grouped: Manifest
) -> None:
    kept = by_name(grouped.table.to_pylist())
    names = {row["sample_id"]: name for name, row in kept.items()}
    found = {
        (row["reason"], names[row["kept"]], (row["source"], row["file"]))
        for row in grouped.duplicates.to_pylist()
    }
    exact = [copy for copy in written[1].copies if copy.kind != "near"]
    assert found == {(copy.kind, copy.original, copy.copy) for copy in exact}
    assert Counter(reason for reason, _, _ in found) == {"content": 4, "capture": 3}


def test_copies_share_a_group_across_the_sources(
    written: tuple[Path, WrittenPlan], grouped: Manifest
) -> None:
    rows = by_name(grouped.table.to_pylist()) | by_name(grouped.duplicates.to_pylist())
    for copy in written[1].copies:
        assert rows[copy.original]["group_id"] == rows[copy.copy]["group_id"]
    near = written[1].copies_of("near")
    assert near and all(rows[copy.copy]["drive"].startswith("place/") for copy in near)


def test_a_group_is_a_drive_of_the_truth(
    written: tuple[Path, WrittenPlan], grouped: Manifest
) -> None:
    truth = {(row.source, row.file): row.drive for row in written[1].rows}
    rows = by_name(grouped.table.to_pylist()) | by_name(grouped.duplicates.to_pylist())
    drives: dict[str, set[str]] = {}
    groups: dict[str, set[str]] = {}
    for name, row in rows.items():
        drives.setdefault(row["group_id"], set()).add(truth[name])
        groups.setdefault(truth[name], set()).add(row["group_id"])
    assert all(len(found) == 1 for found in drives.values())
    assert all(len(found) == 1 for found in groups.values())


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_planted_copy_crosses_a_split(
    written: tuple[Path, WrittenPlan], grouped: Manifest, seed: int
) -> None:
    roles: dict[Name, str] = {}
    for part in cut(grouped, SplitSettings(), seed).each():
        for row in part.table.to_pylist():
            roles[row["source"], row["file"]] = str(part.role)
    kept = by_name(grouped.table.to_pylist())
    names = {row["sample_id"]: name for name, row in kept.items()}
    for row in grouped.duplicates.to_pylist():
        roles[row["source"], row["file"]] = roles[names[row["kept"]]]
    truth = {(row.source, row.file): row.drive for row in written[1].rows}
    drives: dict[str, set[str]] = {}
    for name, role in roles.items():
        drives.setdefault(truth[name], set()).add(role)
    assert set(roles) == set(truth)
    assert all(len(found) == 1 for found in drives.values())
    for copy in written[1].copies:
        assert roles[copy.original] == roles[copy.copy]


def test_the_earlier_source_keeps_its_row(written: tuple[Path, WrittenPlan]) -> None:
    manifest = fused(written[0], ("natix", "cmu_roadwork"))
    kept = by_name(manifest.table.to_pylist())
    names = {row["sample_id"]: name for name, row in kept.items()}
    found = {
        (names[row["kept"]], (row["source"], row["file"]))
        for row in manifest.duplicates.to_pylist()
    }
    exact = [copy for copy in written[1].copies if copy.kind != "near"]
    assert found == {(copy.copy, copy.original) for copy in exact}


def test_near_duplicates_of_other_drives_are_set_aside_on_request(
    written: tuple[Path, WrittenPlan],
) -> None:
    manifest = fused(written[0], ("cmu_roadwork", "natix"), near_duplicates="drop")
    left_out = by_name(manifest.duplicates.to_pylist())
    near = {name for name, row in left_out.items() if row["reason"] == "near"}
    assert near == {copy.copy for copy in written[1].copies_of("near")}
    assert len(manifest) + len(left_out) == len(written[1].rows)


def test_the_reports_counts_equal_the_plan(
    written: tuple[Path, WrittenPlan], grouped: Manifest
) -> None:
    plan = written[1]
    report = fusion_report(grouped)
    assert report.offered == len(plan.rows)
    offered = Counter(row.source for row in plan.rows)
    assert {name: source.offered for name, source in report.sources.items()} == offered
    wanted = Counter(
        (copy.kind, copy.copy[0], copy.original[0]) for copy in plan.copies if copy.kind != "near"
    )
    counted = {
        (copy.reason, copy.source, copy.kept_source): copy.images for copy in report.duplicates
    }
    assert counted == wanted
    assert report.kept == len(plan.rows) - wanted.total()
    assert report.quarantined == report.left_out == {}
    assert report.drives == len({row.group for row in plan.rows})
    sources: dict[str, set[str]] = {}
    names: dict[str, set[str]] = {}
    for row in plan.rows:
        sources.setdefault(row.drive, set()).add(row.source)
        names.setdefault(row.drive, set()).add(row.group)
    assert report.groups == len(sources)
    assert report.groups_across_sources == sum(len(found) > 1 for found in sources.values()) > 1
    assert report.groups_merged == sum(len(found) > 1 for found in names.values()) > 1
    assert report.near_other_label == 0


@pytest.fixture
def damaged(written: tuple[Path, WrittenPlan], tmp_path: Path) -> Path:
    """The same data with one shard of NATIX cut off."""
    root = tmp_path / "damaged"
    shutil.copytree(written[0], root)
    shard = root / "natix" / SHARD
    shard.write_bytes(shard.read_bytes()[:-100])
    return root


def test_a_damaged_shard_is_listed_and_the_rest_is_fused(
    written: tuple[Path, WrittenPlan], damaged: Path
) -> None:
    manifest = fused(damaged, ("cmu_roadwork", "natix"))
    [row] = manifest.quarantine.to_pylist()
    assert (row["file"], row["source"], row["reason"], row["fault"]) == (
        SHARD, "natix", "damaged_shard", True,
    )  # fmt: skip
    gone = {row.file for row in written[1].rows if row.file.startswith(SHARD)}
    assert gone
    assert len(manifest) + len(manifest.duplicates) == len(written[1].rows) - len(gone)
    found = {row["file"] for row in manifest.duplicates.to_pylist()}
    exact = {copy.copy[1] for copy in written[1].copies if copy.kind != "near"}
    assert found == exact - gone


def test_a_damaged_shard_stops_the_run_where_the_settings_say_so(damaged: Path) -> None:
    with pytest.raises(DataError) as error:
        fused(damaged, ("cmu_roadwork", "natix"), on_bad_row="raise")
    for text in (SHARD, "natix", "fetch it again"):
        assert text in str(error.value)
