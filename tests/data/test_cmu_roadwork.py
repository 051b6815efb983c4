"""CMU ROADWork: the source, its vocabulary, and the writer that tests it end to end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from PIL import Image

from roadwork.data.scenes import SceneSettings
from roadwork.data.scenes.formats import WrittenPlan
from roadwork.data.scenes.formats.cmu_roadwork import (
    ADAPTATION,
    ANNOTATIONS,
    GPS_SPLIT,
    write_cmu_roadwork,
)
from roadwork.data.scenes.formats.roadwork_categories import (
    OF_WORKS,
    PLAIN,
    REORDERED,
    SEGMENT_OF_WORKS,
    WITH_SIGNS,
)
from roadwork.data.scenes.scene import DRAW
from roadwork.data.sources.cmu_roadwork import CmuRoadwork
from roadwork.data.sources.roadwork_vocabulary import (
    Meaning,
    Named,
    meaning_of,
    parse_name,
    segment_of,
)
from roadwork.data.sources.rows import SourceRow
from roadwork.errors import ConfigError, DataError
from roadwork.settings import CmuRoadworkSource

VID = "0123456789abcdef0123456789abcdef"
FILE = f"boston_{VID}_000002_00030.jpg"
DRAWN = SceneSettings(seed=3, drives=60, frames=(1, 2), width=128, height=72)

Tree = dict[str, Any]


def rows_of(root: Path | str, *annotations: str) -> list[SourceRow]:
    names = {"annotations": annotations} if annotations else {}
    return list(CmuRoadwork(CmuRoadworkSource(root=str(root), **names)).rows())


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, WrittenPlan]:
    root = tmp_path_factory.mktemp("roadwork")
    return root, write_cmu_roadwork(root, DRAWN)


def agree(rows: list[SourceRow], plan: WrittenPlan) -> None:
    told = [
        (r.source, r.file, r.label, r.group, r.capture, dict(r.slices), r.verdict) for r in rows
    ]
    assert told == [
        (r.source, r.file, r.label, r.group, r.capture, dict(r.slices), None) for r in plan.rows
    ]


# --- the writer and the loader agree -------------------------------------------------------------


def test_what_is_written_comes_back(drawn: tuple[Path, WrittenPlan]) -> None:
    root, plan = drawn
    rows = rows_of(root)
    agree(rows, plan)
    assert len(rows) > 12
    assert all((root / row.file).read_bytes() == Path(row.uri).read_bytes() for row in rows)
    assert {row.slices["domain"] for row in rows} == {None}
    assert {row.slices["works_size"] for row in rows} == {"small", "large"}
    cities = {row.slices["city"] for row in rows}
    assert "pittsburgh" in cities and len(cities) > 2
    # One drive is one group, and no group holds two drives.
    pairs = {(row.drive, row.group) for row in plan.rows}
    assert len(pairs) == len({drive for drive, _ in pairs}) == len({group for _, group in pairs})


def test_the_same_settings_write_the_same_bytes(tmp_path: Path) -> None:
    fewer = SceneSettings(seed=3, drives=9, frames=(1, 2), width=128, height=72)
    files = []
    for root in (tmp_path / "one", tmp_path / "two"):
        write_cmu_roadwork(root, fewer)
        files.append({str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*.*")})
    assert len(files[0]) > len(ANNOTATIONS)
    assert files[0] == files[1]


def test_adaptation_files_become_domains(drawn: tuple[Path, WrittenPlan], tmp_path: Path) -> None:
    root, _ = drawn
    plan = write_cmu_roadwork(tmp_path, DRAWN, annotations=ADAPTATION, sem_seg=True)
    rows = rows_of(tmp_path, *ADAPTATION)
    agree(rows, plan)
    assert {row.slices["domain"] for row in rows} == {"source", "target"}
    for row in rows:
        home = row.slices["city"] == "pittsburgh"
        assert row.slices["domain"] == ("source" if home else "target")
        assert (row.file.startswith("scene/images/pgh")) == home
    # README: the first file is Pittsburgh's alone, the second has none of it.
    cities = [{row.slices["city"] for row in rows_of(root, name)} for name in ADAPTATION[:2]]
    assert cities[0] == {"pittsburgh"}
    assert "pittsburgh" not in cities[1]


@pytest.mark.parametrize(
    "names",
    [
        ("instances_train_gps_split_with_signs.json", "instances_val_gps_split_with_signs.json"),
        ("instances_train_pittsburgh_only.json", "instances_val_pittsburgh_only.json"),
    ],
)
def test_lists_of_categories_in_another_order_give_the_same_labels(
    drawn: tuple[Path, WrittenPlan], names: tuple[str, ...]
) -> None:
    root, plan = drawn
    assert {row.file: (row.label, row.slices) for row in rows_of(root, *names)} == {
        row.file: (row.label, row.slices) for row in plan.rows
    }


def test_an_image_in_several_files_is_one_row_of_the_first(
    drawn: tuple[Path, WrittenPlan],
) -> None:
    root, plan = drawn
    rows = rows_of(root, *GPS_SPLIT, *ADAPTATION)
    agree(rows, plan)
    turned = rows_of(root, *ADAPTATION, *GPS_SPLIT)
    assert sorted(row.file for row in turned) == sorted(row.file for row in plan.rows)
    assert None not in {row.slices["domain"] for row in turned}


def test_an_object_store_gives_the_same_rows(drawn: tuple[Path, WrittenPlan]) -> None:
    root, plan = drawn
    store = fsspec.filesystem("memory")
    store.put(str(root) + "/", "/lent/roadwork/", recursive=True)
    try:
        rows = rows_of("memory://lent/roadwork")
        agree(rows, plan)
        assert rows[0].uri.startswith("memory://")
        assert store.cat_file(rows[0].uri) == (root / rows[0].file).read_bytes()
    finally:
        store.rm("/lent", recursive=True)


def test_the_files_have_the_published_form(drawn: tuple[Path, WrittenPlan]) -> None:
    root, _ = drawn
    for name in ANNOTATIONS:
        tree = json.loads((root / "scene" / "annotations" / name).read_text(encoding="utf-8"))
        assert {"images", "annotations", "categories"} <= set(tree)
        names = {entry["id"]: entry["name"] for entry in tree["categories"]}
        for image in tree["images"]:
            assert set(image) == {
                "id", "width", "height", "file_name", "license", "flickr_url", "coco_url",
                "date_captured", "gps", "city_name", "video_info", "scene_level_tags",
                "scene_description",
            }  # fmt: skip
            assert set(image["video_info"]) == {"vid_id", "seq_id", "frame_id"}
            assert image["file_name"].endswith(image["video_info"]["frame_id"])
        for entry in tree["annotations"]:
            left, top, width, height = entry["bbox"]
            xs, ys = entry["segmentation"][0][::2], entry["segmentation"][0][1::2]
            assert (min(xs), min(ys)) == (left, top)
            assert (max(xs), max(ys)) == (left + width, top + height)
            assert 4 <= entry["area"] <= width * height
            assert set(entry["attributes"]) >= {"occluded"}
            assert names[entry["category_id"]]
    signs = {number for number, _ in WITH_SIGNS}
    assert signs == {*range(1, 18), *range(19, 51)}
    assert dict(PLAIN)[3] == dict(REORDERED)[4] == "Cone"
    assert set(OF_WORKS.values()) <= {name for _, name in PLAIN}


def test_every_kind_of_works_has_a_category_and_its_segment() -> None:
    assert set(OF_WORKS) <= set(DRAW)
    for category in set(OF_WORKS.values()):
        assert meaning_of(category) is Meaning.WORKS
        assert segment_of(category) == SEGMENT_OF_WORKS.get(category)


# --- words ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("category", "meaning"),
    [
        ("Cone", Meaning.WORKS),
        (" cone ", Meaning.WORKS),
        ("TTC Sign: left arrow", Meaning.WORKS),
        ("Temporary Traffic Control Message Board", Meaning.WORKS),
        ("Other Roadwork Objects", Meaning.WORKS),
        ("Police Officer", Meaning.CONTEXT),
        ("Bike Lane", Meaning.CONTEXT),
        ("Road", Meaning.CONTEXT),
        ("TTC Signal", Meaning.UNKNOWN),
        ("Unicorn", Meaning.UNKNOWN),
    ],
)
def test_meaning_of_categories(category: str, meaning: Meaning) -> None:
    assert meaning_of(category) is meaning


@pytest.mark.parametrize(
    ("name", "named"),
    [
        (f"columbus_{VID}_000002_03480.jpg", Named("columbus", VID, "000002", "03480")),
        (f"columbus_000002_{VID}_03480.jpg", Named("columbus", VID, "000002", "03480")),
        (f"san_antonio_{VID}_000002_03480.jpg", Named("san_antonio", VID, "000002", "03480")),
        ("pgh04_00350.jpg", Named("pittsburgh", "pgh", "04", "00350")),
        ("IMG_1234.jpg", None),
        ("columbus_street_000002_03480.jpg", None),
    ],
)
def test_both_orders_of_file_names(name: str, named: Named | None) -> None:
    assert parse_name(name) == named


# --- by hand -------------------------------------------------------------------------------------


def by_hand() -> Tree:
    """One image of 128 x 72 pixels with one cone of 8 x 6 pixels: 6 / 72 is just large."""
    return {
        "images": [
            {
                "id": 7,
                "width": 128,
                "height": 72,
                "file_name": FILE,
                "city_name": "Boston",
                "video_info": {"vid_id": VID.upper(), "seq_id": 2, "frame_id": "00030.jpg"},
                "scene_level_tags": {
                    "weather": ["Rain", "Cloudy"],
                    "daytime": "Dark",
                    "scene_environment": "Urban",
                },
            }
        ],
        "annotations": [{"id": 1, "image_id": 7, "category_id": 3, "bbox": [10, 20, 8, 6]}],
        "categories": [{"id": number, "name": name} for number, name in PLAIN],
    }


def put(root: Path, tree: Tree | str, name: str = GPS_SPLIT[0], image: bool = True) -> Path:
    folder = root / "scene" / "annotations"
    folder.mkdir(parents=True, exist_ok=True)
    text = tree if isinstance(tree, str) else json.dumps(tree)
    (folder / name).write_text(text, encoding="utf-8")
    (root / "scene" / "images").mkdir(exist_ok=True)
    if image:
        Image.new("RGB", (128, 72)).save(root / "scene" / "images" / FILE)
    return root


def read_one(root: Path) -> SourceRow:
    (row,) = rows_of(root, GPS_SPLIT[0])
    return row


def test_a_row_by_hand(tmp_path: Path) -> None:
    row = read_one(put(tmp_path, by_hand()))
    assert row.uri == str(tmp_path / "scene" / "images" / FILE)
    assert row.file == f"scene/images/{FILE}"
    assert (row.label, row.verdict) == (1, None)
    assert row.group == f"sequence/{VID}/000002"
    assert row.capture == f"{VID}/000002/00030"
    assert row.slices == {
        "time_of_day": "Dark",
        "weather": "Cloudy, Rain",
        "environment": "Urban",
        "city": "boston",
        "works_size": "large",
        "domain": None,
    }


def without_metadata(tree: Tree) -> None:
    for key in ("city_name", "video_info", "scene_level_tags", "height"):
        del tree["images"][0][key]


def test_the_file_name_stands_in_for_missing_metadata(tmp_path: Path) -> None:
    tree = by_hand()
    without_metadata(tree)
    row = read_one(put(tmp_path, tree))
    assert (row.label, row.verdict) == (1, None)
    assert row.capture == f"{VID}/000002/00030"
    assert row.slices == {
        "time_of_day": None,
        "weather": None,
        "environment": None,
        "city": "boston",
        "works_size": None,
        "domain": None,
    }


def test_an_image_that_tells_no_sequence_is_a_group_of_its_own(tmp_path: Path) -> None:
    tree = by_hand()
    without_metadata(tree)
    tree["images"][0]["file_name"] = "snapshot.jpg"
    put(tmp_path, tree, image=False)
    Image.new("RGB", (128, 72)).save(tmp_path / "scene" / "images" / "snapshot.jpg")
    row = read_one(tmp_path)
    assert (row.group, row.capture) == ("cmu_roadwork/scene/images/snapshot.jpg", None)


@pytest.mark.parametrize(("height", "size"), [(6, "large"), (5.9, "small")])
def test_size_by_the_tallest_works_box(tmp_path: Path, height: float, size: str) -> None:
    tree = by_hand()
    tree["annotations"][0]["bbox"][3] = height
    # A police car is no works, however large it is.
    tree["annotations"].append({"id": 2, "image_id": 7, "category_id": 2, "bbox": [0, 0, 90, 60]})
    assert read_one(put(tmp_path, tree)).slices["works_size"] == size


def segments(root: Path, array: np.ndarray) -> Path:
    folder = root / "scene" / "sem_seg" / "gtFine" / "train"
    folder.mkdir(parents=True)
    Image.fromarray(array).save(folder / FILE.replace(".jpg", "_labelIds.png"))
    return root


def test_label_pngs_tell_how_much_of_a_box_is_visible(tmp_path: Path) -> None:
    tree = by_hand()
    tree["annotations"][0]["bbox"] = [10, 20, 8, 30]
    ids = np.ones((72, 128), dtype=np.uint8)
    ids[45:50, 10:18] = 13  # five rows of cone; the rest of the box is hidden
    ids[20:45, 10:18] = 10  # by a work vehicle
    row = read_one(segments(put(tmp_path, tree), ids))
    assert row.slices["works_size"] == "small"


def test_a_box_without_its_segment_keeps_its_own_height(tmp_path: Path) -> None:
    row = read_one(segments(put(tmp_path, by_hand()), np.ones((72, 128), dtype=np.uint8)))
    assert row.slices["works_size"] == "large"


def test_a_damaged_label_png_is_listed_and_the_image_kept(tmp_path: Path) -> None:
    segments(put(tmp_path, by_hand()), np.ones((36, 64), dtype=np.uint8))
    damage, row = rows_of(tmp_path, GPS_SPLIT[0])
    assert damage.verdict is not None and damage.verdict.fault
    assert damage.verdict.reason == "size_mismatch"
    assert "64 x 36" in damage.verdict.detail and "128 x 72" in damage.verdict.detail
    assert damage.file.endswith("_labelIds.png")
    assert (row.label, row.verdict, row.slices["works_size"]) == (1, None, "large")


def only(tree: Tree, category: int) -> None:
    tree["annotations"][0]["category_id"] = category


def test_context_alone_is_left_out_without_blame(tmp_path: Path) -> None:
    tree = by_hand()
    only(tree, 2)
    tree["images"].append({**tree["images"][0], "id": 8, "file_name": "pgh01_00001.jpg"})
    tree["annotations"].append({"id": 2, "image_id": 8, "category_id": 3, "bbox": [1, 1, 9, 9]})
    Image.new("RGB", (128, 72)).save(put(tmp_path, tree) / "scene" / "images" / "pgh01_00001.jpg")
    police, cone = rows_of(tmp_path, GPS_SPLIT[0])
    assert police.verdict is not None and not police.verdict.fault
    assert (police.label, police.verdict.reason) == (None, "no_works_annotated")
    assert (cone.label, cone.verdict) == (1, None)


def test_unknown_categories_are_listed_once_and_the_known_ones_count(tmp_path: Path) -> None:
    tree = by_hand()
    tree["categories"] += [{"id": 60, "name": "Unicorn"}, {"id": 61, "name": "Griffin"}]
    tree["annotations"] += [
        {"id": number, "image_id": 7, "category_id": 60, "bbox": [1, 1, 2, 2]} for number in (2, 3)
    ]
    griffin, unicorn, row = rows_of(put(tmp_path, tree), GPS_SPLIT[0])
    for damage, name in ((griffin, "Griffin"), (unicorn, "Unicorn")):
        assert damage.verdict is not None and damage.verdict.fault
        assert damage.verdict.reason == "unknown_category"
        assert f"{GPS_SPLIT[0]} has the category '{name}'" in damage.verdict.detail
    assert griffin.file != unicorn.file
    assert (row.label, row.verdict) == (1, None)


def test_an_image_with_unknown_categories_alone_is_a_fault(tmp_path: Path) -> None:
    tree = by_hand()
    tree["categories"].append({"id": 60, "name": "Unicorn"})
    only(tree, 60)
    row = rows_of(put(tmp_path, tree), GPS_SPLIT[0])[-1]
    assert row.verdict is not None and row.verdict.fault
    assert row.verdict.reason == "unknown_category"
    assert FILE in row.verdict.detail and "Unicorn" in row.verdict.detail


# --- bad input -----------------------------------------------------------------------------------


def no_file_name(tree: Tree) -> None:
    tree["images"].append({"id": 8, "width": 128, "height": 72})


def same_id(tree: Tree) -> None:
    tree["images"].append({**tree["images"][0], "file_name": "other.jpg"})


def listed_twice(tree: Tree) -> None:
    tree["images"].append({**tree["images"][0], "id": 8})


def stray_image(tree: Tree) -> None:
    tree["annotations"] += [
        {"id": n, "image_id": 99, "category_id": 3, "bbox": [1, 1, 2, 2]} for n in range(100, 107)
    ]


def stray_category(tree: Tree) -> None:
    tree["annotations"].append({"id": 5, "image_id": 7, "category_id": 18, "bbox": [1, 1, 2, 2]})


def short_box(tree: Tree) -> None:
    tree["annotations"].append({"id": 6, "image_id": 7, "category_id": 3, "bbox": [1, 1, 2]})


def nameless_category(tree: Tree) -> None:
    tree["categories"].append({"id": 70})


@pytest.mark.parametrize(
    ("spoil", "reason", "words"),
    [
        (no_file_name, "no_file_name", ["images[1]", "id 8"]),
        (same_id, "bad_image_id", ["images[1]", "other.jpg", "7"]),
        (listed_twice, "listed_twice", ["images[1]", FILE]),
        (stray_image, "unknown_image", ["7 annotations", "100 (image_id 99)", "104"]),
        (stray_category, "unknown_category", ["1 annotations", "5 (category_id 18)"]),
        (short_box, "bad_box", ["1 annotations", "6"]),
        (nameless_category, "bad_category", ["categories[17]"]),
    ],
)
def test_damage_is_one_row_that_names_file_and_place(
    tmp_path: Path, spoil: Callable[[Tree], None], reason: str, words: list[str]
) -> None:
    tree = by_hand()
    spoil(tree)
    damage, row = rows_of(put(tmp_path, tree), GPS_SPLIT[0])
    assert damage.verdict is not None and damage.verdict.fault
    assert damage.verdict.reason == reason
    assert damage.file.startswith(f"scene/annotations/{GPS_SPLIT[0]}#")
    for word in [GPS_SPLIT[0], *words]:
        assert word in damage.verdict.detail
    assert "105" not in damage.verdict.detail  # the first five are enough
    assert (row.file, row.label, row.verdict) == (f"scene/images/{FILE}", 1, None)


@pytest.mark.parametrize(
    ("text", "reason", "words"),
    [
        ('{"images": [\n{"id": 1},,]}', "bad_json", ["line 2, column 11"]),
        ('{"images": [], "annotations": []}', "missing_key", ["'categories'", "it has: annot"]),
        ("[]", "missing_key", ["'images' nor 'annotations' nor 'categories'", "nothing"]),
    ],
)
def test_a_file_that_cannot_be_read_is_listed_or_stops(
    tmp_path: Path, text: str, reason: str, words: list[str]
) -> None:
    put(tmp_path, by_hand())
    put(tmp_path, text, GPS_SPLIT[1])
    row, damage = rows_of(tmp_path)
    assert (row.label, row.verdict) == (1, None)
    assert damage.verdict is not None and damage.verdict.fault
    assert damage.verdict.reason == reason
    for word in [GPS_SPLIT[1], *words]:
        assert word in damage.verdict.detail
    with pytest.raises(DataError, match="no image is listed") as error:
        rows_of(tmp_path, GPS_SPLIT[1])
    assert words[0] in str(error.value)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    put(tmp_path, by_hand())
    (tmp_path / "scene" / "annotations" / GPS_SPLIT[1]).write_bytes(b'{"images": "\xff\xfe"}')
    verdict = rows_of(tmp_path)[-1].verdict
    assert verdict is not None and verdict.reason == "bad_json"
    assert GPS_SPLIT[1] in verdict.detail


def test_a_listed_image_that_is_not_there(tmp_path: Path) -> None:
    tree = by_hand()
    tree["images"].append({**tree["images"][0], "id": 8, "file_name": "pgh01_00001.jpg"})
    there, missing = rows_of(put(tmp_path, tree), GPS_SPLIT[0])
    assert there.verdict is None
    assert missing.verdict is not None and missing.verdict.fault
    assert (missing.file, missing.verdict.reason) == ("scene/images/pgh01_00001.jpg", "missing")
    assert "unzip images.zip" in missing.verdict.detail


def test_wrong_roots_say_what_the_folder_should_hold(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no folder"):
        rows_of(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"scene/annotations/instances_train_gps_split\.json"):
        rows_of(tmp_path)
    put(tmp_path, by_hand(), image=False)
    with pytest.raises(ConfigError, match=r"has no instances_val_gps_split\.json; it has: inst"):
        rows_of(tmp_path)
    with pytest.raises(ConfigError, match="no image in scene/images"):
        rows_of(tmp_path, GPS_SPLIT[0])
    with pytest.raises(ConfigError, match="is not set"):
        CmuRoadwork(CmuRoadworkSource())


def test_the_fingerprint_follows_the_data(tmp_path: Path) -> None:
    def fingerprint(name: str = "cmu_roadwork") -> str:
        return CmuRoadwork(CmuRoadworkSource(root=str(tmp_path), name=name)).fingerprint()

    put(tmp_path, by_hand())
    first = fingerprint()
    assert first == fingerprint()
    assert first != fingerprint("other")
    segments(tmp_path, np.ones((72, 128), dtype=np.uint8))
    second = fingerprint()
    assert second != first
    put(tmp_path, {**by_hand(), "info": {}})
    assert fingerprint() != second
