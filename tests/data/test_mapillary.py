"""Mapillary Vistas: the rule, the source, and the writer that tests it end to end."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from roadwork.data.scenes import SceneSettings
from roadwork.data.scenes.formats import WrittenPlan
from roadwork.data.scenes.formats.mapillary import write_mapillary
from roadwork.data.scenes.formats.vistas_classes import CLASSES, OF_WORKS, config
from roadwork.data.scenes.scene import DRAW
from roadwork.data.sources.mapillary import Mapillary
from roadwork.data.sources.rows import SourceRow, Verdict
from roadwork.data.sources.vistas_rule import (
    STRONG,
    Evidence,
    VistasClasses,
    judge,
    measure,
    read_classes,
)
from roadwork.errors import ConfigError, DataError
from roadwork.settings import MapillarySource

DRAWN = SceneSettings(seed=3, drives=110, frames=(1, 1), width=128, height=72)
CONE, TEMPORARY = CLASSES.index(STRONG[0]), CLASSES.index(STRONG[1])
BLOCK = CLASSES.index("construction--barrier--concrete-block")
ROAD = CLASSES.index("construction--flat--road")
V2 = read_classes(json.dumps(config()).encode(), "config_v2.0.json")


def rows_of(root: Path | str, **changes: Any) -> list[SourceRow]:
    return list(Mapillary(MapillarySource(root=str(root), **changes)).rows())


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, WrittenPlan]:
    root = tmp_path_factory.mktemp("vistas")
    return root, write_mapillary(root, DRAWN)


def agree(rows: list[SourceRow], plan: WrittenPlan) -> None:
    told = {
        r.file: (r.source, r.label, r.group, r.capture, dict(r.slices),
                 r.verdict.reason if r.verdict else None)
        for r in rows
    }  # fmt: skip
    assert len(told) == len(rows) == len(plan.rows)
    assert told == {
        r.file: (r.source, r.label, r.group, r.capture, dict(r.slices), r.left_out)
        for r in plan.rows
    }


# --- the writer and the loader agree -------------------------------------------------------------


def test_what_is_written_comes_back(drawn: tuple[Path, WrittenPlan]) -> None:
    root, plan = drawn
    rows = rows_of(root)
    agree(rows, plan)
    assert all((root / row.file).read_bytes() == Path(row.uri).read_bytes() for row in rows)
    labels = Counter(row.label for row in rows)
    assert labels[1] > 5 and labels[0] > 10 and labels[None] > 2
    assert all(row.verdict is None or not row.verdict.fault for row in rows)
    assert {row.slices["works_size"] for row in rows if row.label == 1} == {"small", "large"}
    # One picture a drive, each a group of its own: the format knows no sequences.
    assert len({row.drive for row in plan.rows}) == len({row.group for row in rows}) == len(rows)


def test_one_part_is_read_alone(drawn: tuple[Path, WrittenPlan]) -> None:
    root, plan = drawn
    rows = rows_of(root, parts=("validation",))
    assert 0 < len(rows) < len(plan.rows)
    agree(rows, WrittenPlan(tuple(r for r in plan.rows if r.file.startswith("validation/"))))


def test_an_object_store_gives_the_same_rows(drawn: tuple[Path, WrittenPlan]) -> None:
    root, plan = drawn
    store = fsspec.filesystem("memory")
    store.put(str(root) + "/", "/lent/vistas/", recursive=True)
    try:
        rows = rows_of("memory://lent/vistas")
        agree(rows, plan)
        assert store.cat_file(rows[0].uri) == (root / rows[0].file).read_bytes()
    finally:
        store.rm("/lent", recursive=True)


def test_the_same_settings_write_the_same_bytes(tmp_path: Path) -> None:
    fewer = SceneSettings(seed=3, drives=12, frames=(1, 2), width=96, height=64)
    files = []
    for root in (tmp_path / "one", tmp_path / "two"):
        write_mapillary(root, fewer)
        files.append(
            {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*.*") if p.is_file()}
        )
    assert len(files[0]) > 6
    assert files[0] == files[1]


def test_the_files_have_the_published_form(drawn: tuple[Path, WrittenPlan]) -> None:
    root, _ = drawn
    labels = json.loads((root / "config_v2.0.json").read_text(encoding="utf-8"))["labels"]
    assert len(labels) == 124
    assert {key for label in labels for key in label} == {
        "name", "readable", "color", "instances", "evaluate",
    }  # fmt: skip
    images = sorted((root / "training" / "images").glob("*.jpg"))
    assert images
    for path in images:
        maps = {
            kind: Image.open(root / "training" / "v2.0" / kind / f"{path.stem}.png")
            for kind in ("labels", "instances")
        }
        with Image.open(path) as image, maps["labels"] as ids, maps["instances"] as numbers:
            assert image.size == ids.size == numbers.size
            assert (ids.mode, numbers.mode) == ("P", "I;16")
            assert np.array_equal(np.asarray(ids), np.asarray(numbers) // 256)
            first = int(np.asarray(ids)[0, 0])
            assert ids.getpalette()[3 * first : 3 * first + 3] == labels[first]["color"]


def test_class_ids_as_published() -> None:
    # Positions that public listings of the 124 classes agree on; 19, 20 and 55 are the trap.
    assert [CLASSES.index(name) for name in STRONG] == [89, 11, 103, 102]
    assert BLOCK == 3
    assert CLASSES[19] == "construction--flat--pedestrian-area"
    assert CLASSES[20] == "construction--flat--rail-track"
    assert CLASSES[55] == "marking-only--continuous--dashed"
    assert len(set(CLASSES)) == 124
    assert VistasClasses(124, (89, 11, 103, 102)) == V2


def test_every_kind_of_works_has_a_class() -> None:
    assert set(OF_WORKS) <= set(DRAW)
    assert set(OF_WORKS.values()) <= set(CLASSES)


# --- the rule, by hand ---------------------------------------------------------------------------


def ids(*values: tuple[int, int]) -> np.ndarray:
    """An instance map of 2 x 2 pixels from (class, instance) pairs."""
    return np.array([256 * c + i for c, i in values], dtype=np.uint16).reshape(2, 2)


@pytest.mark.parametrize(
    ("values", "evidence"),
    [
        # Nothing strong: road and a concrete block.
        (((ROAD, 0), (ROAD, 0), (BLOCK, 0), (BLOCK, 1)), (0, 0.0, 0.0)),
        # One cone of one pixel of four, one row of two.
        (((CONE, 0), (ROAD, 0), (ROAD, 0), (ROAD, 0)), (1, 0.25, 0.5)),
        # One cone over three pixels and both rows.
        (((CONE, 5), (CONE, 5), (CONE, 5), (ROAD, 0)), (1, 0.75, 1.0)),
        # The same class twice, and another class with the same instance number: three instances.
        (((CONE, 0), (CONE, 1), (TEMPORARY, 0), (TEMPORARY, 0)), (3, 0.5, 0.5)),
        # The last class and instance fit into 16 bits.
        (((123, 255), (CONE, 255), (ROAD, 0), (ROAD, 0)), (1, 0.25, 0.5)),
    ],
)
def test_counting_by_hand(
    values: tuple[tuple[int, int], ...], evidence: tuple[int, float, float]
) -> None:
    assert measure(ids(*values), V2) == Evidence(*evidence)


def test_a_class_beyond_the_configuration() -> None:
    verdict = measure(ids((124, 0), (ROAD, 0), (ROAD, 0), (ROAD, 0)), V2)
    assert isinstance(verdict, Verdict) and verdict.fault
    assert verdict.reason == "unknown_class"
    assert "class id 124" in verdict.detail and "ids 0 to 123" in verdict.detail


@pytest.mark.parametrize(
    ("instances", "area", "label"),
    [
        (0, 0.0, 0),
        (1, 0.00049, None),
        (1, 0.0005, 1),
        (2, 0.00001, 1),
        (3, 0.5, 1),
    ],
)
def test_the_rule_with_the_suggested_numbers(
    instances: int, area: float, label: int | None
) -> None:
    default = MapillarySource()
    found = judge(Evidence(instances, area, 0.1), default.min_instances, default.min_area)
    assert found == label


@given(
    hnp.arrays(
        np.uint16,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=6),
        elements=st.sampled_from(
            [256 * c + i for c in (0, BLOCK, TEMPORARY, CONE, 102, 103, 123) for i in (0, 1, 255)]
        ),
    )
)
def test_counting_agrees_with_a_slow_count(numbers: np.ndarray) -> None:
    cells: dict[int, list[int]] = {}
    for (row, _), value in np.ndenumerate(numbers):
        if CLASSES[value // 256] in STRONG:
            cells.setdefault(int(value), []).append(row)
    found = measure(numbers, V2)
    assert isinstance(found, Evidence)
    assert found.instances == len(cells)
    largest = max((len(rows) for rows in cells.values()), default=0)
    tallest = max((max(rows) - min(rows) + 1 for rows in cells.values()), default=0)
    assert found.area == largest / numbers.size
    assert found.height == tallest / numbers.shape[0]


# --- by hand -------------------------------------------------------------------------------------


def put(root: Path, numbers: np.ndarray | None, stem: str = "a", image: bool = True) -> Path:
    """A folder of one photograph of 128 x 72 pixels and its instance map."""
    part = root / "training"
    for folder in (part / "images", part / "v2.0" / "instances"):
        folder.mkdir(parents=True, exist_ok=True)
    (root / "config_v2.0.json").write_text(json.dumps(config()), encoding="utf-8")
    if image:
        Image.new("RGB", (128, 72)).save(part / "images" / f"{stem}.jpg")
    if numbers is not None:
        Image.fromarray(numbers).save(part / "v2.0" / "instances" / f"{stem}.png")
    return root


def street(*objects: tuple[int, int, int]) -> np.ndarray:
    """Road with objects of (class, width, height), one beside the other."""
    numbers = np.full((72, 128), 256 * ROAD, dtype=np.uint16)
    left = 0
    for place, (kind, width, height) in enumerate(objects):
        numbers[:height, left : left + width] = 256 * kind + place
        left += width
    return numbers


def read_one(root: Path, **changes: Any) -> SourceRow:
    (row,) = rows_of(root, parts=("training",), **changes)
    return row


@pytest.mark.parametrize(
    ("objects", "label", "size"),
    [
        ([], 0, None),
        ([(BLOCK, 40, 40)], 0, None),
        # 0.05 % of 128 * 72 = 9216 pixels is 4.608: four pixels are too few, five enough.
        ([(CONE, 2, 2)], None, "small"),
        ([(CONE, 5, 1)], 1, "small"),
        ([(CONE, 1, 1), (CONE, 1, 1)], 1, "small"),
        ([(CONE, 1, 1), (TEMPORARY, 1, 6)], 1, "large"),
        ([(CONE, 1, 6), (BLOCK, 1, 60)], 1, "large"),
    ],
)
def test_rows_by_hand(
    tmp_path: Path, objects: list[tuple[int, int, int]], label: int | None, size: str | None
) -> None:
    row = read_one(put(tmp_path, street(*objects)))
    assert row.uri == str(tmp_path / "training" / "images" / "a.jpg")
    assert (row.file, row.group) == ("training/images/a.jpg", "mapillary/training/a")
    assert (row.label, row.slices["works_size"]) == (label, size)
    assert (row.source, row.capture) == ("mapillary", None)
    assert (row.verdict is None) == (label is not None)


def test_what_the_rule_cannot_decide_is_left_out_without_blame(tmp_path: Path) -> None:
    put(tmp_path, street((CONE, 2, 2)))
    verdict = read_one(tmp_path).verdict
    assert verdict is not None and not verdict.fault
    assert verdict.reason == "ambiguous"
    assert "0.043%" in verdict.detail  # 4 of 9216
    assert read_one(tmp_path, min_area=0.0004).label == 1
    assert read_one(tmp_path, min_instances=1).label == 1


def test_classes_are_found_by_name_in_a_configuration_of_another_order(tmp_path: Path) -> None:
    put(tmp_path, street((5, 1, 20), (6, 1, 1)))
    assert read_one(tmp_path).label == 0
    names = [label["name"] for label in config()["labels"]]  # type: ignore[attr-defined]
    for place, name in zip((5, 6), STRONG[:2], strict=True):
        here = names.index(name)
        names[place], names[here] = names[here], names[place]
    text = json.dumps({"labels": [{"name": name} for name in names]})
    (tmp_path / "config_v2.0.json").write_text(text, encoding="utf-8")
    assert read_one(tmp_path).label == 1


# --- bad input -----------------------------------------------------------------------------------


def test_a_photograph_without_instance_map(tmp_path: Path) -> None:
    verdict = read_one(put(tmp_path, None)).verdict
    assert verdict is not None and verdict.fault
    assert verdict.reason == "no_instances"
    assert "training/v2.0/instances/a.png" in verdict.detail


def test_an_instance_map_without_photograph(tmp_path: Path) -> None:
    put(tmp_path, street())
    lost, row = sorted(
        rows_of(put(tmp_path, street(), "b", image=False), parts=("training",)),
        key=lambda row: row.verdict is None,
    )
    assert row.file == "training/images/a.jpg"
    assert lost.file == "training/v2.0/instances/b.png"
    assert lost.verdict is not None and lost.verdict.fault
    assert lost.verdict.reason == "missing"
    assert "training/images/b.jpg" in lost.verdict.detail


@pytest.mark.parametrize(
    ("numbers", "reason", "words"),
    [
        (street()[:36], "size_mismatch", ["128 x 36", "128 x 72"]),
        (street().astype(np.uint8), "wrong_depth", ["mode L", "16 bits"]),
        (street((124, 1, 1)), "unknown_class", ["class id 124", "124 classes"]),
    ],
)
def test_instance_maps_that_do_not_fit(
    tmp_path: Path, numbers: np.ndarray, reason: str, words: list[str]
) -> None:
    row = read_one(put(tmp_path, numbers))
    assert row.label is None
    assert row.verdict is not None and row.verdict.fault
    assert row.verdict.reason == reason
    for word in ["training/v2.0/instances/a.png", *words]:
        assert word in row.verdict.detail


@pytest.mark.parametrize("keep", [0, 20, 70])
def test_a_damaged_instance_map(tmp_path: Path, keep: int) -> None:
    put(tmp_path, street((CONE, 3, 9)))
    path = tmp_path / "training" / "v2.0" / "instances" / "a.png"
    path.write_bytes(path.read_bytes()[:keep])
    verdict = read_one(tmp_path).verdict
    assert verdict is not None and verdict.fault
    assert verdict.reason == "damaged_labels"
    assert "training/v2.0/instances/a.png" in verdict.detail


def test_a_photograph_that_is_no_image_is_left_to_ingest(tmp_path: Path) -> None:
    put(tmp_path, street())
    (tmp_path / "training" / "images" / "a.jpg").write_bytes(b"<html>")
    row = read_one(tmp_path)
    assert (row.label, row.verdict) == (0, None)


def test_version_1_2_is_refused_with_the_reason(tmp_path: Path) -> None:
    put(tmp_path, street())
    with pytest.raises(ConfigError, match=r"v1\.2 has no class that tells roadwork.*v2\.0"):
        rows_of(tmp_path, version="v1.2")
    with pytest.raises(ConfigError, match=r"'v3\.0' is not known; only v2\.0"):
        rows_of(tmp_path, version="v3.0")
    (tmp_path / "validation" / "v1.2" / "instances").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"validation holds v1\.2 only"):
        rows_of(tmp_path)


def test_missing_classes_are_named(tmp_path: Path) -> None:
    put(tmp_path, street())
    kept = [label for label in config()["labels"] if label["name"] not in STRONG[1:3]]  # type: ignore[attr-defined]
    (tmp_path / "config_v2.0.json").write_text(json.dumps({"labels": kept}), encoding="utf-8")
    with pytest.raises(DataError, match="lists 122 classes, but not") as error:
        rows_of(tmp_path, parts=("training",))
    assert STRONG[1] in str(error.value) and STRONG[2] in str(error.value)
    assert STRONG[0] not in str(error.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "config_v2.0.json is no JSON"),
        ("[]", "no list `labels`"),
        ('{"labels": [1]}', "no list `labels`"),
    ],
)
def test_a_configuration_that_is_none(tmp_path: Path, text: str, words: str) -> None:
    put(tmp_path, street())
    (tmp_path / "config_v2.0.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as error:
        rows_of(tmp_path, parts=("training",))
    assert words in str(error.value)


def test_wrong_roots_say_what_the_folder_should_hold(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no folder"):
        rows_of(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"no training/v2\.0/instances.*training/images/\*\.jpg"):
        rows_of(tmp_path)
    put(tmp_path, None, image=False)
    with pytest.raises(ConfigError, match="no image in training/images"):
        rows_of(tmp_path, parts=("training",))
    (tmp_path / "config_v2.0.json").unlink()
    with pytest.raises(ConfigError, match=r"has no config_v2\.0\.json"):
        rows_of(tmp_path, parts=("training",))
    with pytest.raises(ConfigError, match="is not set"):
        Mapillary(MapillarySource())


def test_the_fingerprint_follows_the_data(tmp_path: Path) -> None:
    def fingerprint(**changes: Any) -> str:
        source = MapillarySource(root=str(tmp_path), parts=("training",), **changes)
        return Mapillary(source).fingerprint()

    put(tmp_path, street())
    first = fingerprint()
    assert first == fingerprint()
    assert first != fingerprint(min_instances=3)
    put(tmp_path, street(), "b")
    assert fingerprint() != first
