"""The NATIX source: generated data in its exact form comes back, and damage is named."""

from __future__ import annotations

import ast
import hashlib
import io
import json
import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from roadwork.data.scenes import SceneSettings
from roadwork.data.scenes.formats.natix import SCHEMA, Overlap, huggingface_schema, write_natix
from roadwork.data.scenes.formats.plan import WrittenPlan, roadwork_shots
from roadwork.data.sources import natix_shards
from roadwork.data.sources.capture import capture_of, sequence_group
from roadwork.data.sources.natix import Natix, gps_cell
from roadwork.data.sources.rows import SourceRow
from roadwork.data.sources.words import city_of, joined, word
from roadwork.data.storage import read_bytes
from roadwork.errors import ConfigError, DataError
from roadwork.settings import NatixSource

SCENES = SceneSettings(seed=1, drives=24, frames=(1, 3), width=128, height=72)
TRAIN = "data/train-00000-of-00002.parquet"
SECOND = "data/train-00001-of-00002.parquet"
TEST = "data/test-00000-of-00001.parquet"
VID = "9ED0F726BA84457084DB85D84FB358EA"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, WrittenPlan]:
    root = tmp_path_factory.mktemp("natix")
    return root, write_natix(root, SCENES, Overlap(capture=1, content=1, near=1))


@pytest.fixture
def root(written: tuple[Path, WrittenPlan], tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    shutil.copytree(written[0], tmp_path / "natix")
    return tmp_path / "natix"


def read(root: Path | str, **changes: Any) -> list[SourceRow]:
    return list(Natix(NatixSource(root=str(root), **changes)).rows())


def change(path: Path, row: int, **cells: Any) -> None:
    """Write a shard again with some cells of one row exchanged."""
    rows = pq.read_table(path).to_pylist()
    rows[row] |= cells
    pq.write_table(pa.Table.from_pylist(rows, schema=huggingface_schema()), path)


def row_of(rows: list[SourceRow], file: str) -> SourceRow:
    [found] = [row for row in rows if row.file == file]
    return found


def same(row: SourceRow, plan: WrittenPlan) -> None:
    [wanted] = [one for one in plan.rows if one.file == row.file]
    assert (row.label, row.group, row.capture) == (wanted.label, wanted.group, wanted.capture)
    assert dict(row.slices) == dict(wanted.slices)
    assert row.verdict is None
    assert row.source == "natix"


# The round trip


def test_every_row_comes_back_as_planned(written: tuple[Path, WrittenPlan]) -> None:
    root, plan = written
    rows = read(root)
    assert {row.file for row in rows} == {row.file for row in plan.rows}
    assert len(rows) == len(plan.rows) > 12
    for row in rows:
        same(row, plan)
        assert row.uri == f"{root}/{row.file}"
    assert {row.label for row in rows} == {0, 1}


def test_frames_of_a_drive_share_a_group_and_no_other_drive_has_it(
    written: tuple[Path, WrittenPlan],
) -> None:
    drives: dict[str, set[str]] = {}
    for row in written[1].rows:
        drives.setdefault(row.group, set()).add(row.drive)
    assert all(len(names) == 1 for names in drives.values())
    positives = [row for row in written[1].rows if row.label == 1 and row.capture]
    assert len({row.group for row in positives}) < len(positives)


def test_negatives_have_no_metadata_and_a_group_each(written: tuple[Path, WrittenPlan]) -> None:
    negatives = [row for row in read(written[0]) if row.label == 0]
    assert negatives
    for row in negatives:
        assert row.group == f"natix/{row.file}"
        assert row.capture is None
        assert set(row.slices.values()) == {None}


def test_pittsburgh_names_no_video(tmp_path: Path) -> None:
    plan = write_natix(tmp_path, SCENES, Overlap(same=3))
    pittsburgh = [row for row in plan.rows if row.slices["city"] == "pittsburgh"]
    assert pittsburgh
    table = pq.read_table(tmp_path / "data", columns=["city_name", "video_info.vid_id"])
    for row in table.to_pylist():
        assert (row["video_info.vid_id"] is None) == (row["city_name"] in (None, "pittsburgh"))
    for row in pittsburgh:
        assert row.capture is not None and row.capture.startswith("pgh/")
        same(row_of(read(tmp_path), row.file), plan)


def test_an_eighth_of_the_frames_of_roadwork_is_repeated_in_each_way(tmp_path: Path) -> None:
    frames = len(list(roadwork_shots(SCENES)))
    assert frames >= 8
    plan = write_natix(tmp_path, SCENES)
    counts = {kind: len(plan.copies_of(kind)) for kind in ("capture", "content", "near")}
    assert counts == {"capture": frames // 8, "content": 2 * (frames // 8), "near": frames // 8}
    assert len({copy.original for copy in plan.copies}) == len(plan.copies)


def test_the_plan_survives_json(written: tuple[Path, WrittenPlan]) -> None:
    plan = written[1]
    assert WrittenPlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    assert len((plan + plan).rows) == 2 * len(plan.rows)
    assert [len(plan.copies_of(kind)) for kind in ("capture", "content", "near")] == [1, 1, 1]


def test_same_settings_give_the_same_bytes(
    written: tuple[Path, WrittenPlan], tmp_path: Path
) -> None:
    write_natix(tmp_path, SCENES, Overlap(capture=1, content=1, near=1))
    for name in (TRAIN, SECOND, TEST):
        digests = {
            hashlib.sha256((root / name).read_bytes()).hexdigest()
            for root in (written[0], tmp_path)
        }
        assert len(digests) == 1


def test_the_shards_have_the_published_columns(written: tuple[Path, WrittenPlan]) -> None:
    schema = pq.read_schema(written[0] / TRAIN)
    assert schema.names[:3] == ["image", "id", "width"]
    assert schema.names[-2:] == ["scene_level_tags.weather", "label"]
    assert schema.equals(SCHEMA) and len(schema.names) == 19
    for row in pq.read_table(written[0] / TRAIN).to_pylist():
        with Image.open(io.BytesIO(row["image"]["bytes"])) as image:
            assert image.size == (row["width"], row["height"])
        filled = row["label"] == 1
        assert (row["scene_description"] is not None) == filled
        if filled:
            assert len(ast.literal_eval(row["scene_level_tags.weather"])) == 1


@pytest.mark.parametrize(
    ("settings", "overlap", "message"),
    [
        (
            SceneSettings(seed=1, drives=1, frames=(1, 1), width=64, height=48),
            Overlap(),
            "more drives",
        ),
        (SCENES, Overlap(near=500), "are to be repeated"),
    ],
)
def test_too_few_drives_are_refused(
    settings: SceneSettings, overlap: Overlap, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        write_natix(tmp_path, settings, overlap)


# Both layouts, and the library that publishes them


def save_arrow(root: Path, folder: str, names: list[str], split: str | None) -> None:
    """A split as ``save_to_disk`` leaves it: an Arrow stream a file, and ``state.json``."""
    (root / folder).mkdir(parents=True)
    files = []
    for number, source in enumerate(names):
        table = pq.read_table(root / source)
        name = f"data-{number:05d}-of-{len(names):05d}.arrow"
        with ipc.new_stream(root / folder / name, table.schema) as stream:
            stream.write_table(table, max_chunksize=3)
        files.append({"filename": name})
    state = {"_data_files": files, "_split": split}
    (root / folder / "state.json").write_text(json.dumps(state))
    (root / folder / "dataset_info.json").write_text("{}")


def test_a_saved_data_set_of_both_splits_is_read(
    written: tuple[Path, WrittenPlan], root: Path
) -> None:
    save_arrow(root, "saved/train", [TRAIN, SECOND], "train")
    save_arrow(root, "saved/test", [TEST], "test")
    names = {
        "train/data-00000-of-00002.arrow": TRAIN,
        "train/data-00001-of-00002.arrow": SECOND,
        "test/data-00000-of-00001.arrow": TEST,
    }
    rows = read(root / "saved")
    assert len(rows) == len(written[1].rows)
    for row in rows:
        shard, _, number = row.file.partition("#row=")
        assert row.uri == f"{root}/saved/{row.file}"
        [wanted] = [one for one in written[1].rows if one.file == f"{names[shard]}#row={number}"]
        assert (row.label, row.capture) == (wanted.label, wanted.capture)
        assert dict(row.slices) == dict(wanted.slices)
    only = read(root / "saved", splits=("test",))
    assert {row.file.partition("#")[0] for row in only} == {"test/data-00000-of-00001.arrow"}


def test_a_single_saved_data_set_is_read_whatever_its_split(root: Path) -> None:
    save_arrow(root, "one", [TEST], "test")
    rows = read(root / "one", splits=("train",))
    assert len(rows) == pq.read_metadata(root / TEST).num_rows
    assert rows[0].file == "data-00000-of-00001.arrow#row=0"


def test_an_arrow_file_is_read_like_a_stream(root: Path) -> None:
    save_arrow(root, "one", [TRAIN], None)
    stream = read(root / "one")
    table = pq.read_table(root / TRAIN)
    with ipc.new_file(root / "one/data-00000-of-00001.arrow", table.schema) as file:
        file.write_table(table, max_chunksize=5)
    assert read(root / "one") == stream


def test_datasets_reads_what_we_write_and_we_read_what_it_saves(
    written: tuple[Path, WrittenPlan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets", reason="the datasets library is not installed")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()
    root, plan = written
    files = {split: f"{root}/data/{split}-*" for split in ("train", "test")}
    loaded = datasets.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "cache"))
    assert isinstance(loaded["train"].features["image"], datasets.Image)
    first = loaded["train"][0]
    assert first["image"].size == (first["width"], first["height"])
    labels = [label for split in ("train", "test") for label in loaded[split]["label"]]
    assert labels == [row.label for row in plan.rows]

    loaded.save_to_disk(str(tmp_path / "saved"))
    rows = read(tmp_path / "saved")
    wanted = [row for row in plan.rows if "train" in row.file]
    got = [row for row in rows if row.file.startswith("train/")]
    for row, one in zip(got, wanted, strict=True):
        assert (row.label, row.capture, dict(row.slices)) == (
            one.label, one.capture, dict(one.slices),
        )  # fmt: skip
    loaded["test"].save_to_disk(str(tmp_path / "one"))
    assert len(read(tmp_path / "one")) == len(rows) - len(got)
    loaded["train"].to_parquet(str(tmp_path / "again.parquet"))
    ours = pq.read_schema(root / TRAIN)
    assert pq.read_schema(tmp_path / "again.parquet").equals(ours, check_metadata=False)


@pytest.fixture
def bucket() -> Iterator[Any]:
    """An empty folder of an object store."""
    store = fsspec.filesystem("memory")
    store.mkdir("/bucket")
    yield store
    store.rm("/bucket", recursive=True)


def test_an_object_store_gives_the_same_rows(
    written: tuple[Path, WrittenPlan], bucket: Any
) -> None:
    bucket.put(str(written[0] / "data"), "/bucket/natix/data", recursive=True)
    rows = read("memory://bucket/natix")
    for row in rows:
        same(row, written[1])
        assert row.uri.startswith("memory://") and row.uri.endswith(row.file)
        assert read_bytes(row.uri) == read_bytes(f"{written[0]}/{row.file}")
    assert len(rows) == len(written[1].rows)


def test_a_saved_data_set_in_an_object_store_gives_the_same_rows(root: Path, bucket: Any) -> None:
    save_arrow(root, "one", [TRAIN, SECOND], None)
    bucket.put(str(root / "one"), "/bucket/one", recursive=True)
    local = {row.file: row for row in read(root / "one")}
    remote = {row.file: row for row in read("memory://bucket/one")}
    assert remote.keys() == local.keys()
    for file, row in remote.items():
        assert replace(row, uri=local[file].uri) == local[file]
        assert row.uri.startswith("memory://") and row.uri.endswith(file)


# Streaming


class Counting(io.FileIO):
    """A file that counts what is read of it."""

    total = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(-1 if size is None else size)
        Counting.total += len(data)
        return data

    def readinto(self, buffer: Any) -> int | None:
        count = super().readinto(buffer)
        Counting.total += count or 0
        return count


def test_the_pictures_of_parquet_shards_are_not_read(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    big = np.random.default_rng(0)
    rows = pq.read_table(root / TRAIN).to_pylist()
    for row in rows:
        row["image"]["bytes"] = big.bytes(300_000)
    table = pa.Table.from_pylist(rows, schema=huggingface_schema())
    pq.write_table(table, root / TRAIN, row_group_size=2)
    size = (root / TRAIN).stat().st_size
    assert size > 300_000 * len(rows)
    monkeypatch.setattr(natix_shards, "open_stored", Counting)
    Counting.total = 0
    assert len([row for row in read(root) if row.file.startswith(TRAIN)]) == len(rows)
    assert 0 < Counting.total < size / 4  # the footers alone are read 64 kB at a time


def test_pictures_are_looked_at_where_the_footer_does_not_count_nulls(root: Path) -> None:
    change(root / TRAIN, 1, image=None)
    table = pq.read_table(root / TRAIN)
    pq.write_table(table, root / TRAIN, write_statistics=False)
    assert pq.ParquetFile(root / TRAIN).metadata.row_group(0).column(0).statistics is None
    faulty = [row.file for row in read(root) if row.verdict and row.verdict.reason == "no_image"]
    assert faulty == [f"{TRAIN}#row=1"]


def test_the_pictures_of_arrow_files_are_neither_read_nor_copied(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_arrow(root, "one", [TRAIN], None)
    monkeypatch.setattr(natix_shards, "open_stored", Counting)
    Counting.total = 0
    before, grown = pa.total_allocated_bytes(), 0
    for _ in Natix(NatixSource(root=str(root / "one"))).rows():
        grown = max(grown, pa.total_allocated_bytes() - before)
    assert grown < (root / TRAIN).stat().st_size / 10
    assert Counting.total == 0  # the file is mapped


def test_rows_come_one_after_the_other(root: Path) -> None:
    (root / SECOND).write_bytes(b"damaged")
    rows = Natix(NatixSource(root=str(root), splits=("train",))).rows()
    first = next(rows)  # the second shard has not been opened yet
    assert first.verdict is None
    assert list(rows)[-1].verdict is not None


# Damage becomes a verdict


def damaged(root: Path, name: str = TRAIN) -> SourceRow:
    """The verdict row of a shard, with all rows of the other shards read."""
    rows = read(root)
    row = row_of(rows, name)
    others = {one.file.partition("#")[0] for one in rows} - {name}
    assert others == {TRAIN, SECOND, TEST} - {name}
    assert row.verdict is not None and row.verdict.fault and row.label is None
    assert name in row.verdict.detail
    return row


def test_a_truncated_shard_is_one_row_that_names_it(root: Path) -> None:
    data = (root / TRAIN).read_bytes()
    (root / TRAIN).write_bytes(data[: len(data) * 2 // 3])
    row = damaged(root)
    assert row.verdict is not None and row.verdict.reason == "damaged_shard"
    assert "fetch it again" in row.verdict.detail


def test_a_shard_with_a_damaged_middle_gives_its_first_rows(root: Path) -> None:
    path = root / TRAIN
    table = pq.read_table(path)
    pq.write_table(table, path, row_group_size=2)
    column = pq.ParquetFile(path).metadata.row_group(1).column(2 + SCHEMA.names.index("label") - 1)
    data = bytearray(path.read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    data[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(bytes(data))
    rows = [row for row in read(root) if row.file.startswith(TRAIN)]
    assert [row.file for row in rows] == [f"{TRAIN}#row=0", f"{TRAIN}#row=1", TRAIN]
    assert rows[-1].verdict is not None and "from row 2 on" in rows[-1].verdict.detail


def test_a_pointer_instead_of_the_data_is_recognised(root: Path) -> None:
    (root / TRAIN).write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n")
    row = damaged(root)
    assert row.verdict is not None and "git lfs pull" in row.verdict.detail


def test_a_truncated_arrow_file_gives_the_rows_before_the_cut(root: Path) -> None:
    save_arrow(root, "one", [TRAIN], None)
    path = root / "one/data-00000-of-00001.arrow"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    rows = read(root / "one")
    assert len(rows) > 1 and all(row.verdict is None for row in rows[:-1])
    assert rows[-1].verdict is not None and rows[-1].verdict.reason == "damaged_shard"


def test_a_missing_shard_is_named(root: Path) -> None:
    (root / TRAIN).unlink()
    row = damaged(root)
    assert row.verdict is not None and row.verdict.reason == "missing_shard"


def test_a_shard_without_rows_is_named(root: Path) -> None:
    pq.write_table(huggingface_schema().empty_table(), root / TRAIN)
    row = damaged(root)
    assert row.verdict is not None and row.verdict.reason == "empty_shard"


POSITIVE: dict[str, Any] = {
    "label": 1,
    "scene_description": "Works.",
    "city_name": "Denver",
    "gps": "[39.77160604, -86.18823935]",
    "video_info.vid_id": VID,
    "video_info.seq_id": 4,
    "video_info.frame_id": "04050.jpg",
    "scene_level_tags.daytime": "Light",
    "scene_level_tags.scene_environment": "Urban",
    "scene_level_tags.weather": "['Sunny']",
}


@pytest.mark.parametrize(
    ("cells", "reason", "says"),
    [
        ({"label": 7}, "unknown_label", "label 7"),
        ({"label": None}, "unknown_label", "None"),
        ({"scene_level_tags.weather": "['Sunny"}, "unparsable_list", "scene_level_tags.weather"),
        ({"scene_level_tags.weather": "Sunny"}, "unparsable_list", "'Sunny'"),
        ({"scene_level_tags.weather": "{'Sunny'}"}, "unparsable_list", "expected a list"),
        ({"scene_level_tags.weather": "[" * 900}, "unparsable_list", "expected a list"),
        ({"gps": "[39.7"}, "unparsable_list", "gps"),
        ({"gps": "[139.7, 0.0]", "video_info.vid_id": None}, "unparsable_list", "degrees"),
        ({"gps": "['a', 'b']", "video_info.vid_id": None}, "unparsable_list", "degrees"),
        ({"image": None}, "no_image", "no image bytes"),
        ({"image": {"bytes": None, "path": "x.jpg"}}, "no_image", "no image bytes"),
    ],
)
@pytest.mark.parametrize("saved", [False, True])
def test_a_bad_cell_is_a_fault_of_its_row(
    cells: dict[str, Any], reason: str, says: str, saved: bool, root: Path
) -> None:
    change(root / TRAIN, 1, **(POSITIVE | cells))
    where, name = root, TRAIN
    if saved:
        save_arrow(root, "one", [TRAIN], None)
        where, name = root / "one", "data-00000-of-00001.arrow"
    rows = read(where)
    row = row_of(rows, f"{name}#row=1")
    assert row.verdict is not None and row.verdict.fault
    assert row.verdict.reason == reason
    assert says in row.verdict.detail and f"{name}#row=1" in row.verdict.detail
    assert [one.file for one in rows if one.verdict] == [row.file]


@pytest.mark.parametrize(
    "cells",
    [{"label": 0, "scene_description": "Cones."}, {"label": 1, "scene_description": None}],
)
def test_rows_whose_label_and_description_disagree(cells: dict[str, Any], root: Path) -> None:
    change(root / TRAIN, 0, **(POSITIVE | cells))
    row = row_of(read(root), f"{TRAIN}#row=0")
    assert row.verdict is not None
    assert (row.verdict.reason, row.verdict.fault) == ("label_disagrees", False)
    kept = row_of(read(root, disagreement="keep"), f"{TRAIN}#row=0")
    assert kept.verdict is None and kept.label == cells["label"]


def test_words_places_and_names_are_read_in_one_spelling(root: Path) -> None:
    weather = "['Rain', 'Cloudy']"
    change(root / TRAIN, 0, **(POSITIVE | {"scene_level_tags.weather": weather}))
    change(root / SECOND, 0, **(POSITIVE | {"video_info.vid_id": None, "city_name": " "}))
    change(
        root / TEST, 0, **(POSITIVE | {"gps": None, "video_info.seq_id": None, "city_name": "nan"})
    )
    rows = read(root)
    first = row_of(rows, f"{TRAIN}#row=0")
    assert first.capture == "9ed0f726ba84457084db85d84fb358ea/000004/04050"
    assert first.group == "sequence/9ed0f726ba84457084db85d84fb358ea/000004"
    assert first.slices == {
        "time_of_day": "Light",
        "weather": "Cloudy, Rain",
        "environment": "Urban",
        "city": "denver",
    }
    second = row_of(rows, f"{SECOND}#row=0")
    # 39.77160604 / 0.001 = 39771.6; -86.18823935 * cos(39.771 deg) / 0.001 = -66244.9.
    assert second.group == "place/39771/-66245"
    assert second.capture is None and second.slices["city"] is None
    third = row_of(rows, f"{TEST}#row=0")
    assert third.group == f"natix/{TEST}#row=0" and third.capture is None


# Data of another form is an error


def no_label(root: Path) -> None:
    pq.write_table(pq.read_table(root / SECOND).drop_columns(["label"]), root / SECOND)


def bare_bytes(root: Path) -> None:
    table = pq.read_table(root / TRAIN)
    images = pa.array([b"x"] * table.num_rows)
    pq.write_table(table.set_column(0, "image", images), root / TRAIN)


def no_test(root: Path) -> None:
    (root / TEST).unlink()


def all_damaged(root: Path) -> None:
    for name in (TRAIN, SECOND, TEST):
        (root / name).write_bytes(b"PAR1")


def both_layouts(root: Path) -> None:
    save_arrow(root, "saved/train", [TRAIN], "train")


def broken_state(root: Path) -> None:
    shutil.rmtree(root / "data")
    (root / "state.json").write_text("{")


def absent_arrow(root: Path) -> None:
    save_arrow(root, "saved/train", [TRAIN], "train")
    shutil.rmtree(root / "data")
    (root / "saved/train/data-00000-of-00001.arrow").unlink()


def loose_images(root: Path) -> None:
    shutil.rmtree(root / "data")
    (root / "roadwork").mkdir()
    (root / "roadwork/a.jpg").write_bytes(b"x")


def nothing(root: Path) -> None:
    shutil.rmtree(root / "data")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (no_label, [SECOND, "no column 'label'", "it has: image, id", "fetch it again"]),
        (bare_bytes, [TRAIN, "'image' is binary", "struct of bytes and path"]),
        (no_test, ["no shard of the split test", "it has: train", "data.sources.splits"]),
        (all_damaged, ["none of the 3 shards", "cannot be read"]),
        (both_layouts, ["lies here twice", "saved/train/data-00000-of-00001.arrow"]),
        (broken_state, ["state.json is no state", "save it again"]),
        (absent_arrow, ["saved/train/state.json names data-00000-of-00001.arrow", "not there"]),
        (loose_images, ["no shards of NATIX", "1 loose images (roadwork/a.jpg", "image_folder"]),
        (nothing, ["data/train-*.parquet", "save_to_disk", "roadwork data fetch natix"]),
    ],
)
def test_another_form_is_refused_with_what_to_do(
    spoil: Callable[[Path], None], says: list[str], root: Path
) -> None:
    spoil(root)
    with pytest.raises(DataError) as error:
        read(root)
    for text in says:
        assert text in str(error.value)


def test_a_root_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no folder"):
        Natix(NatixSource(root=str(tmp_path / "absent")))
    with pytest.raises(ConfigError, match="not set"):
        Natix(NatixSource())


def test_parquet_files_named_by_number_are_of_their_folders_split(root: Path) -> None:
    (root / "default/train").mkdir(parents=True)
    (root / TRAIN).rename(root / "default/train/0000.parquet")
    (root / TEST).rename(root / "extra.parquet")
    shutil.rmtree(root / "data")
    files = {row.file.partition("#")[0] for row in read(root, splits=("train",))}
    # A file of no known split is read as well: nothing is passed over in silence.
    assert files == {"default/train/0000.parquet", "extra.parquet"}


def test_the_fingerprint_changes_with_data_and_settings(root: Path) -> None:
    source = Natix(NatixSource(root=str(root)))
    first = source.fingerprint()
    assert source.fingerprint() == first
    assert Natix(NatixSource(root=str(root), disagreement="keep")).fingerprint() != first
    change(root / TRAIN, 0, label=0)
    second = source.fingerprint()
    assert second != first
    (root / SECOND).unlink()
    assert source.fingerprint() != second


# Names and words


@pytest.mark.parametrize(
    ("parts", "wanted"),
    [
        ((VID, 2, "04050.jpg"), f"{VID.lower()}/000002/04050"),
        ((VID, "000002", "04050"), f"{VID.lower()}/000002/04050"),
        ((VID.lower(), 2.0, 4050), f"{VID.lower()}/000002/04050"),
        ((f" {VID} ", "2", "4050.JPEG"), f"{VID.lower()}/000002/04050"),
        (("pgh", "07", "00030.png"), "pgh/000007/00030"),
        (("pgh", "A1-2", "x.jpg"), "pgh/a1-2/x"),
        (("a/b", 1, 1), "a_b/000001/00001"),
        ((None, 2, "04050.jpg"), None),
        (("", 2, "04050.jpg"), None),
        ((VID, None, "04050.jpg"), None),
        ((VID, math.nan, "04050.jpg"), None),
        ((VID, 2, None), None),
        ((VID, 2, ".jpg"), None),
    ],
)
def test_captures_have_one_spelling(parts: tuple[Any, Any, Any], wanted: str | None) -> None:
    assert capture_of(*parts) == wanted


@given(st.from_regex(r"[0-9a-f]{32}", fullmatch=True), st.integers(0, 10**7), st.integers(0, 10**6))
@settings(max_examples=50, deadline=None)
def test_a_capture_is_its_own_spelling_and_lies_in_its_sequence(
    vid: str, seq: int, frame: int
) -> None:
    capture = capture_of(vid, seq, frame)
    assert capture is not None
    assert capture_of(*capture.split("/")) == capture
    assert capture_of(vid.upper(), str(seq), f"{frame:05d}.jpg") == capture
    assert sequence_group(vid.upper(), str(seq)) == "sequence/" + capture.rsplit("/", 1)[0]
    assert capture_of(vid, seq + 1, frame) != capture != capture_of(vid, seq, frame + 1)


@given(st.floats(-85, 85), st.floats(-179, 179), st.floats(0, 360))
@settings(max_examples=100, deadline=None)
def test_a_cell_is_about_a_hundred_metres_wide(
    latitude: float, longitude: float, bearing: float
) -> None:
    def step(metres: float) -> str:
        north = metres * math.cos(math.radians(bearing)) / 111_320
        east = metres * math.sin(math.radians(bearing)) / 111_320
        return gps_cell(latitude + north, longitude + east / math.cos(math.radians(latitude)))

    cell = gps_cell(latitude, longitude)
    assert step(170) != cell  # longer than the diagonal of 111 m x 111 m
    row, column = map(int, cell.split("/")[1:])
    width = 0.001 / math.cos(math.radians(row * 0.001))
    inside = gps_cell((row + 0.5) * 0.001, (column + 0.5) * width)
    assert inside == cell


def test_words_are_kept_and_nothing_is_none() -> None:
    assert [word(cell) for cell in (" Light ", "Unknown", "", "nan", "None", None, math.nan)] == [
        "Light", "Unknown", None, None, None, None, None,
    ]  # fmt: skip
    assert joined(["Rain", " Cloudy", "Rain", None]) == "Cloudy, Rain"
    assert joined([]) is None
    assert city_of(" Indianapolis") == "indianapolis"
    assert city_of(None) is None
