"""Image folders: the same rows on disk and in an object store; bad tables are told by line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from roadwork.data import storage
from roadwork.data.sources.image_folder import ImageFolder
from roadwork.data.sources.rows import SourceRow
from roadwork.errors import ConfigError, DataError
from roadwork.reevaluation import labelled_source
from roadwork.settings import ImageFolderSource

HEADER = "file,label,group_id,city\n"


@pytest.fixture(params=["disk", "memory", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "disk":
        return str(tmp_path.resolve())
    if request.param == "memory":
        return request.getfixturevalue("memory") + "/in"
    return request.getfixturevalue("s3_bucket") + "/in"


def fill(root: str, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        storage.write_bytes(storage.join(root, name), data)


def rows(root: str, **changes: Any) -> list[SourceRow]:
    return list(ImageFolder(ImageFolderSource(root=root, **changes)).rows())


def table(root: str, lines: str, header: str = HEADER) -> list[SourceRow]:
    fill(root, {"manifest.csv": (header + lines).encode()})
    return rows(root)


def verdicts(found: list[SourceRow]) -> list[tuple[str, str | None]]:
    return [(row.file, row.verdict.reason if row.verdict else None) for row in found]


def test_a_csv_gives_its_rows_in_order(root: str) -> None:
    first, second = table(root, "b/2.jpg,roadwork,bonn/1,Bonn\n\n./a/1.jpg,0,c,\n")
    assert first == SourceRow(
        uri=f"{root}/b/2.jpg",
        file="b/2.jpg",
        label=1,
        group="bonn/1",
        source="bonn",
        slices={"city": "Bonn"},
    )
    assert (second.uri, second.label, second.source) == (f"{root}/a/1.jpg", 0, "image_folder")
    assert second.slices == {"city": None}


def test_class_folders(root: str) -> None:
    names = (
        "roadwork/d-1/b.jpg",
        "roadwork/d/a.JPG",
        "none/d/x/c.jpg",
        "none/e.png",
        "other/f.jpg",
    )
    fill(root, {**dict.fromkeys(names, b"x"), "none/notes.txt": b"x"})
    found = rows(root, csv=None)
    assert [(row.file, row.label, row.group, row.uri) for row in found] == [
        ("none/d/x/c.jpg", 0, "d", f"{root}/none/d/x/c.jpg"),
        ("none/e.png", 0, "e", f"{root}/none/e.png"),
        ("roadwork/d-1/b.jpg", 1, "d-1", f"{root}/roadwork/d-1/b.jpg"),
        ("roadwork/d/a.JPG", 1, "d", f"{root}/roadwork/d/a.JPG"),
    ]


def test_no_class_folders(root: str) -> None:
    fill(root, {"pictures/a.jpg": b"x"})
    with pytest.raises(DataError, match="no sub-folder named roadwork or none"):
        rows(root, csv=None)


def test_what_is_not_there_is_a_fault_of_the_settings(root: str) -> None:
    with pytest.raises(ConfigError, match=r"data\.sources\.root: there is no folder .*nowhere"):
        rows(f"{root}/nowhere")
    fill(root, {"a.jpg": b"x", "tables/t.csv": HEADER.encode()})
    with pytest.raises(ConfigError, match=r"data\.sources\.csv: there is no file .*set it to null"):
        rows(root)
    with pytest.raises(ConfigError, match="there is no file"):
        rows(root, csv="tables")
    assert rows(root, csv="tables/t.csv") == []


def test_the_fingerprint_follows_the_files(root: str) -> None:
    def fingerprint() -> str:
        return ImageFolder(ImageFolderSource(root=root)).fingerprint()

    fill(root, {"manifest.csv": HEADER.encode(), "a.jpg": b"x"})
    found = [fingerprint()]
    assert fingerprint() == found[0]
    for changed in (
        {"b.jpg": b"x"},
        {"b.jpg": b"longer"},
        {"manifest.csv": (HEADER + "a.jpg,1,g,\n").encode()},
    ):
        fill(root, changed)
        found.append(fingerprint())
    assert len(set(found)) == 4
    fill(root, {"notes.txt": b"no image"})
    assert fingerprint() == found[-1]


@pytest.mark.parametrize(
    "name", ["../outside.jpg", "a/../../outside.jpg", "..", "/etc/hostname", "s3://other/x.jpg"]
)
def test_no_row_leads_out_of_the_folder(root: str, name: str) -> None:
    with pytest.raises(DataError, match=r"manifest\.csv: .* points outside of"):
        table(root, f"{name},1,g,\n")
    with pytest.raises(ConfigError, match=r"data\.sources\.csv: .* points outside of"):
        rows(root, csv=name)


def test_links_that_lead_out_are_refused_and_those_within_followed(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    for name in ("x.jpg", "x.tar"):
        (outside / name).write_bytes(b"x")
        (tmp_path / name).symlink_to(outside / name)
    (tmp_path / "folder").symlink_to(outside)
    for name in ("x.jpg", "folder/x.jpg", "x.tar#bytes=0+1", "folder/../x.jpg"):
        with pytest.raises(DataError, match="points outside"):
            table(str(tmp_path), f"{name},1,g,\n")
    (tmp_path / "real.jpg").write_bytes(b"x")
    (tmp_path / "link.jpg").symlink_to("real.jpg")
    (row,) = table(str(tmp_path), "link.jpg,1,g,\n")
    assert row.uri == str((tmp_path / "real.jpg").resolve())


def test_images_in_containers_may_be_named(root: str) -> None:
    fill(root, {"x.tar": b"0123456789"})
    (row,) = table(root, "x.tar#bytes=2+3,1,g,\n")
    assert storage.read_bytes(row.uri) == b"234"


def test_lines_that_do_not_fit_the_header_are_told(root: str) -> None:
    found = table(root, 'a.jpg,1,g,Bonn\nb.jpg,1\nc.jpg,1,g,Bonn, Rhine\n,1,g,\nd.jpg,1,g,"B, R"\n')
    assert verdicts(found) == [
        ("a.jpg", None),
        ("b.jpg", "malformed_line"),
        ("c.jpg", "malformed_line"),
        ("line 5", "malformed_line"),
        ("d.jpg", None),
    ]
    assert found[1].verdict is not None and found[1].verdict.fault
    assert found[1].verdict.detail.startswith("line 3 has 2 cells, the header 4: ")
    assert found[2].verdict is not None and "line 4 has 5 cells" in found[2].verdict.detail
    assert found[3].verdict is not None and "line 5 names no file" in found[3].verdict.detail
    assert (found[1].label, found[1].group) == (1, "")


def test_files_on_several_lines(root: str) -> None:
    found = table(
        root,
        "same.jpg,1,g,\nlabel.jpg,1,g,\ngroup.jpg,0,g,\nonce.jpg,0,g,\n"
        "./same.jpg,roadwork,g,\nlabel.jpg,0,g,\ngroup.jpg,0,h,\nsame.jpg,1,g,\n",
    )
    assert verdicts(found) == [
        ("same.jpg", None),
        ("label.jpg", "conflicting_line"),
        ("group.jpg", "conflicting_line"),
        ("once.jpg", None),
        ("./same.jpg", "listed_twice"),
        ("label.jpg", "conflicting_line"),
        ("group.jpg", "conflicting_line"),
        ("same.jpg", "listed_twice"),
    ]
    faults = {row.verdict.reason: row.verdict.fault for row in found if row.verdict}
    assert faults == {"conflicting_line": True, "listed_twice": False}


@pytest.mark.parametrize("missing", ["file", "label", "group_id"])
def test_a_missing_column_is_named_with_those_that_exist(tmp_path: Path, missing: str) -> None:
    header = HEADER.replace(missing, "other")
    with pytest.raises(
        DataError, match=rf"no column '{missing}' \(data\.sources\..*it has: "
    ) as told:
        table(str(tmp_path), "a.jpg,1,g,\n", header)
    assert header.strip().replace(",", ", ") in str(told.value)


def test_other_headers_that_cannot_be_right(tmp_path: Path) -> None:
    root = str(tmp_path)
    with pytest.raises(DataError, match=r"has two columns 'label'"):
        table(root, "a.jpg,1,0,g\n", "file,label,label,group_id\n")
    with pytest.raises(DataError, match=r"it has: file;label;group_id; separate them by commas"):
        table(root, "a.jpg;1;g\n", "file;label;group_id\n")
    with pytest.raises(DataError, match=r"no column 'file'.*it has: nothing"):
        table(root, "", "")
    fill(root, {"manifest.csv": (HEADER + "a.jpg,1,g,\n").encode()})
    with pytest.raises(
        DataError, match=r"no column 'camera_model' \(data\.sources\.source_column\)"
    ):
        rows(root, source_column="camera_model")
    (row,) = rows(root, source_column="group_id")
    assert row.source == "g"


def test_other_encodings_and_broken_quotes_are_told_by_line(tmp_path: Path) -> None:
    root = str(tmp_path)
    fill(root, {"manifest.csv": (HEADER + "a.jpg,1,g,\nb.jpg,1,g,Köln\n").encode("latin-1")})
    with pytest.raises(DataError, match=r"manifest\.csv is not UTF-8 \(line 3\): save"):
        rows(root)
    fill(root, {"manifest.csv": (HEADER + "a.jpg,1,g,\n").encode("utf-16")})
    with pytest.raises(DataError, match=r"is not UTF-8 \(line 1\)"):
        rows(root)
    fill(root, {"manifest.csv": ("\ufeff" + HEADER + "a.jpg,1,g,Köln\n").encode()})
    assert rows(root)[0].slices == {"city": "Köln"}
    with pytest.raises(DataError, match=r"is no CSV from line 4 on \(unexpected end of data\)"):
        table(root, 'a.jpg,1,g,\n"b.jpg,1,g,\nc.jpg,1,g,\n')


def test_nothing_is_set(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="resolve the settings first"):
        ImageFolder(ImageFolderSource())


def test_the_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    table(str(tmp_path / "in"), "a.jpg,1,g,\n")
    assert rows("~/in")[0].uri == str((tmp_path / "in" / "a.jpg").resolve())


def test_labelled_photographs_are_found_as_a_table_or_a_folder(root: str) -> None:
    fill(root, {"manifest.csv": HEADER.encode(), "other.csv": HEADER.encode()})
    fill(root, {"classes/none/a.jpg": b"x"})
    cases = (
        (root, (root, "manifest.csv")),
        (f"{root}/", (root, "manifest.csv")),
        (f"{root}/other.csv", (root, "other.csv")),
        (f"{root}/classes", (f"{root}/classes", None)),
    )
    for given, expected in cases:
        found = labelled_source(given)
        assert (found.root, found.csv) == expected
    with pytest.raises(ConfigError, match=r"there is no folder or CSV .*nowhere"):
        labelled_source(f"{root}/nowhere")
