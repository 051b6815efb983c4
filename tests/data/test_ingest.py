"""Ingest on a folder with every fault: nothing vanishes, and copies end in one group."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from roadwork.data.ingest import ingest
from roadwork.data.manifest import Manifest
from roadwork.data.sources.image_folder import ImageFolder
from roadwork.data.sources.rows import SourceRow, Verdict, parse_label
from roadwork.errors import ConfigError, DataError
from roadwork.settings import DataSettings, ImageFolderSource
from roadwork.settings.data import FusionSettings


def picture(seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (8, 12, 3), dtype=np.uint8))
    return coarse.resize((96, 64), Image.Resampling.BICUBIC)


def jpeg(image: Image.Image, quality: int = 90) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


@dataclass(frozen=True)
class Listed:
    """A source of given rows."""

    listed: Sequence[SourceRow]

    def rows(self) -> Iterator[SourceRow]:
        return iter(self.listed)


class Folder:
    """A folder of images with its CSV, filled line by line."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lines: list[dict[str, Any]] = []

    def add(self, file: str, data: bytes | None, label: Any, group: str, **more: str) -> None:
        if data is not None:
            (self.root / file).parent.mkdir(parents=True, exist_ok=True)
            (self.root / file).write_bytes(data)
        self.lines.append({"file": file, "label": label, "group_id": group, **more})

    def source(self, **changes: Any) -> ImageFolder:
        columns = list(dict.fromkeys(name for line in self.lines for name in line))
        with (self.root / "manifest.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, columns or ["file", "label", "group_id"])
            writer.writeheader()
            writer.writerows(self.lines)
        return ImageFolder(ImageFolderSource(root=str(self.root), **changes))

    def manifest(self, share: float = 1.0) -> Manifest:
        return ingest([self.source()], DataSettings(max_quarantine_share=share))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def column(manifest: Manifest, name: str) -> dict[str, Any]:
    files = manifest.table.column("file").to_pylist()
    return dict(zip(files, manifest.table.column(name).to_pylist(), strict=True))


def test_a_row_says_everything(folder: Folder) -> None:
    data = jpeg(picture(1))
    folder.add("a/one.jpg", data, "roadwork", "bonn/drive-1", city="Bonn", weather="")
    manifest = folder.manifest()
    (row,) = manifest.table.to_pylist()
    assert row["file"] == "a/one.jpg"
    assert row["uri"] == str(folder.root.resolve() / "a/one.jpg")
    assert row["label"] == 1
    assert (row["group_id"], row["drive"], row["source"]) == (
        "bonn/drive-1",
        "bonn/drive-1",
        "bonn",
    )
    assert (row["width"], row["height"], row["bytes"]) == (96, 64, len(data))
    assert row["sample_id"] == row["sha256"][:16]
    assert (row["city"], row["weather"]) == ("Bonn", None)


def test_every_fault_is_set_aside_with_its_reason(folder: Folder) -> None:
    good = jpeg(picture(1))
    folder.add("good.jpg", good, 0, "a")
    folder.add("empty.jpg", b"", 0, "a")
    folder.add("text.jpg", b"hello", 1, "a")
    folder.add("cut.jpg", good[: len(good) // 2], 1, "b")
    folder.add("missing.jpg", None, 1, "b")
    folder.add("unlabelled.jpg", jpeg(picture(2)), "", "b")
    folder.add("unknown.jpg", jpeg(picture(3)), "maybe", "b")
    folder.add("homeless.jpg", jpeg(picture(4)), 1, "")
    folder.add("tiny.jpg", jpeg(picture(5).resize((12, 12))), 1, "c")
    manifest = folder.manifest()
    assert manifest.table.column("file").to_pylist() == ["good.jpg"]
    reasons = {row["file"]: row["reason"] for row in manifest.quarantine.to_pylist()}
    assert reasons == {
        "cut.jpg": "corrupt",
        "empty.jpg": "empty",
        "homeless.jpg": "no_group",
        "missing.jpg": "missing",
        "text.jpg": "not_an_image",
        "tiny.jpg": "too_small",
        "unknown.jpg": "no_label",
        "unlabelled.jpg": "no_label",
    }
    assert list(reasons) == sorted(reasons)
    assert all(row["detail"] for row in manifest.quarantine.to_pylist())


def test_copies_are_kept_once_and_their_drives_joined(folder: Folder) -> None:
    same = jpeg(picture(1))
    folder.add("1.jpg", same, 1, "drive-a")
    folder.add("2.jpg", same, 1, "drive-b")
    folder.add("3.jpg", jpeg(picture(2)), 0, "drive-b")
    folder.add("4.jpg", jpeg(picture(3)), 0, "drive-c")
    manifest = folder.manifest()
    assert column(manifest, "group_id") == {
        "1.jpg": "drive-a",
        "3.jpg": "drive-a",
        "4.jpg": "drive-c",
    }
    assert column(manifest, "drive") == {"1.jpg": "drive-a", "3.jpg": "drive-b", "4.jpg": "drive-c"}
    (copy,) = manifest.duplicates.to_pylist()
    assert (copy["file"], copy["drive"], copy["group_id"]) == ("2.jpg", "drive-b", "drive-a")


def test_near_duplicates_join_drives_in_chains(folder: Folder) -> None:
    folder.add("1.jpg", jpeg(picture(1)), 1, "a")
    folder.add("2.jpg", jpeg(picture(1), quality=70), 1, "b")
    folder.add("3.jpg", jpeg(picture(2)), 0, "b")
    folder.add("4.jpg", jpeg(picture(2), quality=70), 0, "c")
    folder.add("5.jpg", jpeg(picture(3)), 0, "d")
    manifest = folder.manifest()
    assert set(column(manifest, "group_id").values()) == {"a", "d"}
    assert len(manifest) == 5  # other bytes: all are kept


def test_the_distance_is_the_settings(folder: Folder) -> None:
    folder.add("1.jpg", jpeg(picture(1)), 1, "a")
    folder.add("2.jpg", jpeg(picture(1).rotate(2)), 1, "b")
    rows = list(folder.source().rows())
    for distance, groups in ((0, {"a", "b"}), (8, {"a"})):
        fusion = FusionSettings(near_duplicate_distance=distance)
        manifest = ingest([Listed(rows)], DataSettings(fusion=fusion))
        assert set(column(manifest, "group_id").values()) == groups


def test_identical_images_with_different_labels_are_all_set_aside(folder: Folder) -> None:
    same = jpeg(picture(1))
    folder.add("1.jpg", same, 1, "a")
    folder.add("2.jpg", same, 0, "b")
    folder.add("3.jpg", jpeg(picture(2)), 0, "b")
    manifest = folder.manifest()
    assert manifest.table.column("file").to_pylist() == ["3.jpg"]
    assert manifest.quarantine_counts() == {"conflicting_label": 2}


@pytest.mark.parametrize(("share", "accepted"), [(0.25, True), (0.24, False)])
def test_the_share_of_quarantine_is_limited(folder: Folder, share: float, accepted: bool) -> None:
    for number in range(3):
        folder.add(f"{number}.jpg", jpeg(picture(number)), number % 2, "a")
    folder.add("bad.jpg", b"hello", 1, "a")
    if accepted:
        assert len(folder.manifest(share)) == 3
        return
    with pytest.raises(DataError, match=r"1 of 4 images.*1 not_an_image.*24\.0%.*bad\.jpg"):
        folder.manifest(share)


def test_no_usable_image_at_all(folder: Folder) -> None:
    folder.add("bad.jpg", b"hello", 1, "a")
    with pytest.raises(DataError, match="1 of 1 images cannot be used"):
        folder.manifest(1.0)


def test_no_rows_at_all(folder: Folder) -> None:
    with pytest.raises(DataError, match="give no images"):
        folder.manifest()


def test_nothing_vanishes_and_order_and_workers_do_not_matter(folder: Folder) -> None:
    same = jpeg(picture(1))
    for number in range(12):
        data = [same, b"", jpeg(picture(number))][number % 3]
        folder.add(f"{number:02}.jpg", data, 1, f"drive-{number % 5}")
    rows = list(folder.source().rows())
    hashes = set()
    for workers, order in ((0, rows), (1, rows[::-1]), (4, rows[5:] + rows[:5])):
        wanted = DataSettings(workers=workers, max_quarantine_share=1)
        manifest = ingest([Listed(order)], wanted)
        parts = (manifest.table, manifest.quarantine, manifest.duplicates)
        assert sum(part.num_rows for part in parts) == 12
        assert manifest.duplicates.num_rows == 3
        hashes.add(manifest.content_hash)
    assert len(hashes) == 1


def test_upright_size_is_recorded(folder: Folder) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    picture(1).save(buffer, "JPEG", exif=exif)
    folder.add("1.jpg", buffer.getvalue(), 1, "a")
    assert folder.manifest().table.select(["width", "height"]).to_pylist() == [
        {"width": 64, "height": 96}
    ]


@pytest.mark.parametrize("missing", ["file", "label", "group_id"])
def test_a_missing_column_is_named_with_those_that_exist(folder: Folder, missing: str) -> None:
    folder.add("1.jpg", jpeg(picture(1)), 1, "a")
    del folder.lines[0][missing]
    with pytest.raises(DataError, match=rf"no column '{missing}'.*it has: ") as caught:
        list(folder.source().rows())
    for other in {"file", "label", "group_id"} - {missing}:
        assert other in str(caught.value)


@pytest.mark.parametrize("name", ["../outside.jpg", "/etc/hostname", "a/../../outside.jpg"])
def test_a_path_out_of_the_folder_is_refused(folder: Folder, name: str) -> None:
    folder.lines.append({"file": name, "label": 1, "group_id": "a"})
    with pytest.raises(DataError, match="points outside"):
        list(folder.source().rows())


def test_a_link_out_of_the_folder_is_refused(folder: Folder, tmp_path_factory: Any) -> None:
    secret = tmp_path_factory.mktemp("secret") / "s.jpg"
    secret.write_bytes(jpeg(picture(1)))
    (folder.root / "link.jpg").symlink_to(secret)
    folder.lines.append({"file": "link.jpg", "label": 1, "group_id": "a"})
    with pytest.raises(DataError, match="points outside"):
        list(folder.source().rows())


def test_a_short_line_is_a_row_without_label_and_group(folder: Folder) -> None:
    folder.add("1.jpg", jpeg(picture(1)), 1, "a")
    source = folder.source()
    (folder.root / "manifest.csv").write_text("file,label,group_id\n1.jpg\n2.jpg,1\n")
    assert [(row.file, row.label, row.group) for row in source.rows()] == [
        ("1.jpg", None, ""),
        ("2.jpg", 1, ""),
    ]


def test_class_folders(tmp_path: Path) -> None:
    for name in ("roadwork/drive-1/a.jpg", "roadwork/drive-1/b.jpg", "none/c.jpg", "other/d.jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / "none" / "notes.txt").write_text("x")
    rows = list(ImageFolder(ImageFolderSource(root=str(tmp_path), csv=None)).rows())
    assert [(row.file, row.label, row.group) for row in rows] == [
        ("none/c.jpg", 0, "c"),
        ("roadwork/drive-1/a.jpg", 1, "drive-1"),
        ("roadwork/drive-1/b.jpg", 1, "drive-1"),
    ]


def test_a_folder_without_class_folders(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    with pytest.raises(DataError, match="no sub-folder named roadwork or none"):
        list(ImageFolder(ImageFolderSource(root=str(tmp_path), csv=None)).rows())


def test_a_missing_folder_or_csv_is_a_fault_of_the_settings(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no folder"):
        ImageFolder(ImageFolderSource(root=str(tmp_path / "nowhere")))
    with pytest.raises(ConfigError, match="set it to null"):
        ImageFolder(ImageFolderSource(root=str(tmp_path)))
    with pytest.raises(ConfigError, match="resolve"):
        ImageFolder(ImageFolderSource())


def test_the_fingerprint_follows_the_files(folder: Folder) -> None:
    folder.add("1.jpg", jpeg(picture(1)), 1, "a")
    before = folder.source().fingerprint()
    assert folder.source().fingerprint() == before
    folder.add("2.jpg", jpeg(picture(2)), 1, "a")
    after = folder.source().fingerprint()
    assert after != before
    (folder.root / "2.jpg").write_bytes(jpeg(picture(3)))
    assert folder.source().fingerprint() != after


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("0", 0),
        ("1", 1),
        (" Roadwork ", 1),
        ("NONE", 0),
        ("True", 1),
        ("", None),
        (None, None),
        ("2", None),
    ],
)
def test_labels(text: str | None, label: int | None) -> None:
    assert parse_label(text) == label


def test_slices_that_a_source_does_not_give_are_unknown(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(jpeg(picture(1)))
    row = SourceRow(str(tmp_path / "1.jpg"), "1.jpg", 0, "a", "made", {"city": "Bonn"})
    (out,) = ingest([Listed([row])], DataSettings()).table.to_pylist()
    assert (out["city"], out["weather"], out["camera"]) == ("Bonn", None, None)


def offered(folder: Path, number: int, **changes: Any) -> SourceRow:
    path = folder / f"{number}.jpg"
    path.write_bytes(jpeg(picture(number)))
    return replace(
        SourceRow(str(path), path.name, number % 2, f"drive-{number}", "made"), **changes
    )


AMBIGUOUS = Verdict("ambiguous", "one cone is not enough: look at it", fault=False)
DAMAGED = Verdict("damaged_shard", "the shard ends early: fetch it again")


def test_verdicts_go_to_quarantine_and_only_faults_count(tmp_path: Path) -> None:
    rows = [offered(tmp_path, number) for number in range(4)]
    rows += [offered(tmp_path, number, verdict=AMBIGUOUS) for number in range(4, 8)]
    settings = DataSettings(max_quarantine_share=0)
    manifest = ingest([Listed(rows)], settings)
    assert len(manifest) == 4
    assert [
        (row["file"], row["reason"], row["detail"], row["fault"])
        for row in manifest.quarantine.to_pylist()
    ] == [(f"{number}.jpg", AMBIGUOUS.reason, AMBIGUOUS.detail, False) for number in range(4, 8)]
    with pytest.raises(DataError, match=r"1 of 9 images.*1 damaged_shard\).*x: the shard ends"):
        ingest([Listed([*rows, offered(tmp_path, 8, file="x", verdict=DAMAGED)])], settings)


def test_nothing_left_after_what_was_left_out_on_purpose(tmp_path: Path) -> None:
    rows = [offered(tmp_path, number, verdict=AMBIGUOUS) for number in range(2)]
    with pytest.raises(DataError, match=r"2 of 2 images.*2 ambiguous.*nothing is left.*one cone"):
        ingest([Listed(rows)], DataSettings(max_quarantine_share=1))


@pytest.mark.parametrize("workers", [0, 3])
def test_the_first_fault_can_stop_it(tmp_path: Path, workers: int) -> None:
    rows = [
        offered(tmp_path, 1),
        offered(tmp_path, 2, verdict=AMBIGUOUS),
        offered(tmp_path, 3, verdict=DAMAGED, source="theirs"),
        offered(tmp_path, 4, label=None),
    ]
    settings = DataSettings(on_bad_row="raise", workers=workers, max_quarantine_share=1)
    with pytest.raises(
        DataError, match=r"^3\.jpg of the source theirs .*damaged_shard.*fetch it again.*on_bad_row"
    ):
        ingest([Listed(rows)], settings)
    assert len(ingest([Listed(rows[:2])], settings)) == 1


def test_an_error_of_a_source_comes_through(tmp_path: Path) -> None:
    class Broken:
        def rows(self) -> Iterator[SourceRow]:
            yield offered(tmp_path, 1)
            raise DataError("annotations.json ends in line 7")

    with pytest.raises(DataError, match="ends in line 7"):
        ingest([Broken()], DataSettings())


def test_a_damaged_container_is_a_fault_of_its_rows(tmp_path: Path) -> None:
    (tmp_path / "s.parquet").write_bytes(b"PAR1 is all that is left")
    rows = [offered(tmp_path, 1), offered(tmp_path, 2, uri=f"{tmp_path}/s.parquet#row=3")]
    manifest = ingest([Listed(rows)], DataSettings(max_quarantine_share=1))
    (bad,) = manifest.quarantine.to_pylist()
    assert (bad["file"], bad["reason"]) == ("2.jpg", "damaged_container")
    assert "s.parquet" in bad["detail"]


def test_of_two_sources_the_earlier_one_keeps_its_row(tmp_path: Path) -> None:
    here = offered(tmp_path, 1, source="here", capture="v/1/1", slices={"city": "Bonn"})
    there = offered(tmp_path, 2, source="there", capture="v/1/1", label=1)
    for sources, stays in (([here], [there]), "here"), (([there], [here]), "there"):
        manifest = ingest([Listed(rows) for rows in sources], DataSettings())
        assert manifest.table.column("source").to_pylist() == [stays]
        assert manifest.duplicates.column("reason").to_pylist() == ["capture"]
        assert manifest.table.column("capture").to_pylist() == ["v/1/1"]


def test_batches_make_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [offered(tmp_path, number) for number in range(10)]
    rows[3:3] = [offered(tmp_path, 11, verdict=AMBIGUOUS)]
    hashes = set()
    for chunk in (1, 3, 11, 4096):
        monkeypatch.setattr("roadwork.data.ingest._CHUNK", chunk)
        manifest = ingest([Listed(rows[:4]), Listed([]), Listed(rows[4:])], DataSettings())
        assert (len(manifest), manifest.quarantine.num_rows) == (10, 1)
        hashes.add(manifest.content_hash)
    assert len(hashes) == 1


def test_embeddings_need_something_that_computes_them(tmp_path: Path) -> None:
    settings = DataSettings(fusion=FusionSettings(embedding_cosine=0.9))
    rows = [offered(tmp_path, number) for number in range(3)]
    with pytest.raises(ConfigError, match=r"data\.fusion\.embedding_cosine needs"):
        ingest([Listed(rows)], settings)
    manifest = ingest([Listed(rows)], settings, embed=lambda uris: np.eye(3)[[0, 1, 0]])
    assert column(manifest, "group_id") == {
        "0.jpg": "drive-0",
        "1.jpg": "drive-1",
        "2.jpg": "drive-0",
    }
