"""Artifacts survive the way through a store, and damage on that way is noticed."""

from __future__ import annotations

import io
import json
import posixpath
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from materializers.data import ManifestMaterializer, SampleSetMaterializer
from materializers.folder import FolderMaterializer
from materializers.reports import ValidationReportMaterializer
from roadwork.data.manifest import CalibrationSet, Manifest, TrainSet
from roadwork.data.validation import Check, SetCounts, ValidationReport
from roadwork.errors import DataError
from tests.data import made


class RemoteStore:
    """An object store: knows names and bytes, and has no folders on this machine."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def open(self, name: str, mode: str = "r") -> Any:
        if "r" in mode:
            if name not in self.objects:
                raise FileNotFoundError(name)
            data = self.objects[name]
            return io.BytesIO(data) if "b" in mode else io.StringIO(data.decode())
        return _Upload(self, name, binary="b" in mode)

    def makedirs(self, name: str) -> None:
        assert name.startswith("store://")

    def files(self) -> list[str]:
        return sorted(posixpath.relpath(name, "store://artifact") for name in self.objects)


class _Upload(io.BytesIO):
    def __init__(self, store: RemoteStore, name: str, binary: bool) -> None:
        super().__init__()
        self.store, self.name, self.binary = store, name, binary

    def write(self, data: Any) -> int:
        return super().write(data if self.binary else data.encode())

    def close(self) -> None:
        self.store.objects[self.name] = self.getvalue()
        super().close()


class Letter:
    """An object with files in sub-folders; it reads one of them when asked."""

    def __init__(self, text: str, folder: Path | None = None) -> None:
        self.text, self.folder = text, folder
        self.content_hash = f"hash of {text}"

    def save(self, folder: Path) -> None:
        (folder / "inner").mkdir()
        (folder / "inner" / "letter.txt").write_text(self.text)
        (folder / "empty.bin").write_bytes(b"")

    @classmethod
    def load(cls, folder: Path) -> Letter:
        return cls((folder / "inner" / "letter.txt").read_text(), folder)


class LetterMaterializer(FolderMaterializer):
    ASSOCIATED_TYPES = (Letter,)


class KeptLetterMaterializer(LetterMaterializer):
    KEEPS_FOLDER = True


def report() -> ValidationReport:
    check = Check(
        name="one", title="<b>One</b>", leak=True, success=False, broken=False, observed=1,
        offenders=("<script>",), detail="",
    )  # fmt: skip
    return ValidationReport(
        engine="none", counts={"train": SetCounts(images=2, groups=1, positives=1)},
        quarantine={"corrupt": 1}, exact_copies=3, checks=(check,),
    )  # fmt: skip


def manifest() -> Manifest:
    return made.manifest([made.row(number) for number in range(6)])


def same(a: Any, b: Any) -> bool:
    return a == b if isinstance(a, BaseModel) else a.content_hash == b.content_hash


CASES: list[tuple[type[FolderMaterializer], Callable[[], Any]]] = [
    (ManifestMaterializer, manifest),
    *[
        (SampleSetMaterializer, lambda role=role: role(made.table([made.row(1), made.row(2)])))
        for role in made.ROLES
    ],
    (ValidationReportMaterializer, report),
]


@pytest.mark.parametrize(("materializer", "make"), CASES)
def test_round_trip_through_a_remote_store(
    materializer: type[FolderMaterializer], make: Callable[[], Any]
) -> None:
    data, store = make(), RemoteStore()
    way = materializer("store://artifact", artifact_store=store)  # pyright: ignore[reportArgumentType]
    way.save(data)
    loaded = materializer("store://artifact", artifact_store=store).load(type(data))  # pyright: ignore[reportArgumentType]
    assert type(loaded) is type(data)
    assert same(loaded, data)
    assert way.compute_content_hash(loaded) == way.compute_content_hash(data)
    json.dumps(way.extract_metadata(data))
    for name, kind in way.save_visualizations(data).items():
        shown = store.objects[name].decode()
        assert kind.value in {"json", "html"}
        assert json.loads(shown) if kind.value == "json" else shown.startswith("<!doctype html>")


def stored_letter() -> tuple[RemoteStore, LetterMaterializer]:
    store = RemoteStore()
    way = LetterMaterializer("store://artifact", artifact_store=store)  # pyright: ignore[reportArgumentType]
    way.save(Letter("dear"))
    return store, way


def test_folders_and_empty_files_are_kept() -> None:
    store, way = stored_letter()
    assert store.files() == ["content/empty.bin", "content/inner/letter.txt", "index.json"]
    assert way.load(Letter).text == "dear"
    assert way.compute_content_hash(Letter("dear")) == "hash of dear"


@pytest.mark.parametrize("name", ["content/empty.bin", "content/inner/letter.txt", "index.json"])
@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_damage_is_noticed_and_named(name: str, damage: str) -> None:
    store, way = stored_letter()
    if damage == "changed":
        store.objects[f"store://artifact/{name}"] += b"!"
    else:
        del store.objects[f"store://artifact/{name}"]
    with pytest.raises(DataError, match=name.removeprefix("content/")):
        way.load(Letter)


def test_a_name_that_leaves_the_folder_is_refused(tmp_path: Path) -> None:
    store, way = stored_letter()
    store.objects["store://artifact/index.json"] = json.dumps({"../x": "0" * 64}).encode()
    store.objects["store://artifact/content/../x"] = b"x"
    with pytest.raises(DataError, match=r"\.\./x"):
        way.load(Letter)


def test_the_folder_stays_only_for_objects_that_read_on() -> None:
    store, way = stored_letter()
    folder = way.load(Letter).folder
    assert folder is not None
    assert not folder.exists()
    kept = KeptLetterMaterializer("store://artifact", artifact_store=store)  # pyright: ignore[reportArgumentType]
    folder = kept.load(Letter).folder
    assert folder is not None
    assert (folder / "inner" / "letter.txt").read_text() == "dear"
    for path in sorted(folder.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    folder.rmdir()


def test_rows_of_one_role_are_not_loaded_as_another() -> None:
    store = RemoteStore()
    way = SampleSetMaterializer("store://artifact", artifact_store=store)  # pyright: ignore[reportArgumentType]
    way.save(TrainSet(made.table([made.row(1)])))
    with pytest.raises(DataError, match="holds the train set, not calibrate"):
        way.load(CalibrationSet)


def test_figures_for_the_dashboard() -> None:
    shown = ManifestMaterializer("store://artifact").describe(manifest())
    assert shown == {
        "images": 6,
        "groups": 2,
        "labels": {"none": 3, "roadwork": 3},
        "sources": {"made": 6},
        "quarantine": {},
        "exact_copies": 0,
    }


def test_the_page_escapes_what_comes_from_data() -> None:
    page = report().html
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "<b>" not in page
    assert "://" not in page


def test_steps_hand_artifacts_on_and_equal_content_is_cached(zenml: Any) -> None:
    from tests.materializers.made_pipeline import made_pipeline, statuses

    assert statuses(made_pipeline(note="first")) == {"ingest": "completed", "learn": "completed"}
    # ingest runs again for its other parameter; its equal manifest makes learn's result valid
    assert statuses(made_pipeline(note="second")) == {"ingest": "completed", "learn": "cached"}
    stored = zenml.get_artifact_version("learn_train").load()
    assert isinstance(stored, TrainSet)
    assert len(stored) == 6
