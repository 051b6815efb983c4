"""``roadwork data`` as a user types it, on generated data."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from cli import app
from roadwork.data.census import census_of_manifest
from roadwork.data.folders import load_manifest, load_set, load_splits, new_folder
from roadwork.data.generate import generate
from roadwork.data.manifest import Role, TrainSet
from roadwork.data.profile import load_profile
from roadwork.data.scenes import SceneSettings, write_scenes
from roadwork.data.storage import read_bytes
from roadwork.errors import ConfigError, DataError

# One planted picture is enormous; decoding refuses it, after Pillow has warned.
pytestmark = pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")

CONFIG = """\
name: made
data:
  max_quarantine_share: 0.2
  sources:
    - {kind: image_folder, root: raw, csv: scenes.csv, source_column: source}
"""


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with generated pictures, their manifest, sets and profile."""
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("COLUMNS", "200")
        (folder / "config.yaml").write_text(CONFIG)
        scenes = SceneSettings(seed=0, drives=24, frames=(1, 3), width=96, height=64)
        generate("folder", Path("raw"), scenes)
        done = run("data", "ingest", "--config", "config.yaml", "--to", "manifest")
        assert done.exit_code == 0, done.output
        done = run(
            "data", "split", "--manifest", "manifest", "--config", "config.yaml", "--to", "sets"
        )
        assert done.exit_code == 0, done.output
    return folder


@pytest.fixture
def here(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(project)
    monkeypatch.setenv("COLUMNS", "200")
    return project


def test_addresses_are_relative_and_lead_to_the_bytes(here: Path) -> None:
    manifest = load_manifest(Path("manifest"))
    row = manifest.table.slice(0, 1).to_pylist()[0]
    assert row["uri"].startswith("raw/images/")
    assert len(read_bytes(row["uri"])) == row["bytes"]
    assert not any(uri.startswith("/") for uri in manifest.duplicates["uri"].to_pylist())


def test_equal_data_give_equal_files(here: Path, tmp_path: Path) -> None:
    again = run("data", "ingest", "--config", "config.yaml", "--to", tmp_path / "again")
    assert again.exit_code == 0, again.output
    for path in sorted(Path("manifest").iterdir()):
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


def test_generate_is_write_scenes(here: Path, tmp_path: Path) -> None:
    order = ("data", "generate", "--drives", 2, "--seed", 3, "--size", "96x64")
    done = run(*order, "--to", tmp_path / "raw")
    assert done.exit_code == 0, done.output
    said = f"kind: image_folder, csv: scenes.csv, source_column: source, root: {tmp_path / 'raw'}"
    assert said in done.output.replace("\n", "")
    write_scenes(tmp_path / "twin", SceneSettings(seed=3, drives=2, width=96, height=64))
    twins = sorted((tmp_path / "twin").rglob("*.*"))
    assert len(twins) > 12
    for path in twins:
        copy = tmp_path / "raw" / path.relative_to(tmp_path / "twin")
        assert path.read_bytes() == copy.read_bytes()


def test_show_counts_what_is_there(here: Path) -> None:
    manifest = load_manifest(Path("manifest"))
    tree = json.loads(run("data", "show", "manifest", "--json").stdout)
    assert sum(row["images"] for row in tree["strata"]) == len(manifest)
    positives = sum(row["images"] for row in tree["strata"] if row["label"] == 1)
    assert positives == sum(manifest.table["label"].to_pylist())
    assert sum(tree["duplicates"].values()) == manifest.duplicates.num_rows > 0
    assert sum(row[3] for row in tree["left_out"]) == manifest.quarantine.num_rows == 5
    assert sum(tree["slices"]["city"].values()) == len(manifest)
    shown = run("data", "show", "manifest").stdout
    assert f"{len(manifest)} photographs" in shown and "damage" in shown

    tree = json.loads(run("data", "show", "sets", "--json").stdout)
    splits = load_splits(Path("sets"))
    for part in splits.each():
        rows = [row for row in tree["strata"] if row["role"] == part.role]
        assert sum(row["images"] for row in rows) == len(part)
    assert sum(len(part) for part in splits.each()) == len(manifest)


def test_a_census_by_hand(here: Path) -> None:
    from dataclasses import replace

    manifest = load_manifest(Path("manifest"))
    rows = manifest.table.slice(0, 4).to_pylist()
    for row, source, label, group, city in zip(
        rows, "abab", (1, 0, 1, 0), "xyxz", ("Ghent", None, "Ghent", None), strict=True
    ):
        row.update(source=source, label=label, group_id=group, city=city)
    small = replace(manifest, table=pa.Table.from_pylist(rows, schema=manifest.table.schema))
    found = census_of_manifest(small)
    assert [(s.source, s.label, s.images, s.groups) for s in found.strata] == [
        ("a", 1, 2, 1),
        ("b", 0, 2, 2),
    ]
    assert found.slices["city"] == {"Ghent": 2, "not known": 2}


def test_profile(here: Path, tmp_path: Path) -> None:
    done = run("data", "profile", "--manifest", "manifest", "--to", tmp_path / "p.json")
    assert done.exit_code == 0, done.output
    profile = load_profile(str(tmp_path / "p.json"))
    assert profile.images == len(load_manifest(Path("manifest")))
    assert set(profile.sources) == {"natix-like", "roadwork-like", "vistas-like"}
    again = run("data", "profile", "--manifest", "manifest", "--to", tmp_path / "p.json")
    assert again.exit_code == 2


def test_shards_hold_the_set(here: Path, tmp_path: Path) -> None:
    from roadwork.data.shards import load_shards

    done = run("data", "shard", "--set", "sets/train", "--to", tmp_path / "s", "--megabytes", 1)
    assert done.exit_code == 0, done.output
    train = load_set(Path("sets/train"))
    shards = load_shards(str(tmp_path / "s"), TrainSet)
    assert f"{len(train)} photographs of the train set" in done.stdout
    assert sorted(shards.sample_ids) == sorted(train.sample_ids)
    for uri, sha in zip(shards.uris[:3], shards.table["sha256"].to_pylist()[:3], strict=True):
        import hashlib

        assert hashlib.sha256(read_bytes(uri)).hexdigest() == sha


def test_a_failed_validation_names_rows_and_writes_no_sets(here: Path, tmp_path: Path) -> None:
    config = tmp_path / "strict.yaml"
    config.write_text(CONFIG + "  expect:\n    natix-like: {max_prior: 0.01}\n")
    done = run(
        "data", "split", "--manifest", "manifest", "--config", config, "--to", tmp_path / "sets"
    )
    assert done.exit_code == 1
    assert "natix-like" in done.stderr
    assert "images/natix-like/" in done.stderr
    assert sorted(path.name for path in (tmp_path / "sets").iterdir()) == [
        "validation.html",
        "validation.json",
    ]
    assert not json.loads((tmp_path / "sets" / "validation.json").read_text()).get("success", False)


def test_wrong_use_is_one_message(here: Path, tmp_path: Path) -> None:
    for arguments, code, message in (
        (("generate", "--to", "raw"), 2, "raw is there already"),
        (("generate", "--to", tmp_path / "x", "--as", "coco"), 2, "there is no format 'coco'"),
        (("generate", "--to", tmp_path / "x", "--size", "big"), 2, "write width and height"),
        (("ingest", "--to", "manifest"), 2, "manifest is there already"),
        (("split", "--manifest", "raw", "--to", tmp_path / "x"), 1, "holds no manifest"),
        (("shard", "--set", "sets", "--to", tmp_path / "x"), 1, "name a folder of one role"),
        (("show", "raw"), 1, "neither a manifest"),
        (("fetch", "imagenet", "--to", tmp_path / "x"), 2, "there is no source 'imagenet'"),
    ):
        done = run("data", *arguments)
        assert (done.exit_code, message in done.stderr) == (code, True), (arguments, done.output)
    assert list(tmp_path.iterdir()) == []


def test_new_folder_is_whole_or_absent(tmp_path: Path) -> None:
    def interrupted() -> None:
        with new_folder(tmp_path / "new") as partial:
            (partial / "half").write_text("x")
            raise InterruptedError

    with pytest.raises(InterruptedError):
        interrupted()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "new").mkdir()
    with new_folder(tmp_path / "new") as partial:
        (partial / "whole").write_text("x")
    assert (tmp_path / "new" / "whole").read_text() == "x"
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
    with pytest.raises(ConfigError, match="there already"), new_folder(tmp_path / "new"):
        pass


def test_sets_know_their_role(here: Path, tmp_path: Path) -> None:
    for role in Role:
        assert load_set(Path("sets", role)).role is role
    table = pq.read_table("sets/train/samples.parquet").replace_schema_metadata(None)
    pq.write_table(table, tmp_path / "samples.parquet")
    with pytest.raises(DataError, match="which of the five sets"):
        load_set(tmp_path)
    with pytest.raises(DataError, match="lacks the train, select, calibrate, conformal, test set"):
        load_splits(tmp_path)


# -- fetch


@pytest.mark.parametrize("source", ["natix", "cmu_roadwork"])
def test_fetch_shows_the_licence_and_asks_for_consent(tmp_path: Path, source: str) -> None:
    done = run("data", "fetch", source, "--to", tmp_path / "x", "--online")
    assert done.exit_code == 2
    assert done.stdout.startswith("Licence   ")
    assert "give --accept-licence" in done.stderr
    done = run("data", "fetch", source, "--to", tmp_path / "x", "--accept-licence")
    assert done.exit_code == 2
    assert "ROADWORK_OFFLINE is true" in done.stderr
    assert not (tmp_path / "x").exists()


def test_fetch_says_what_cannot_be_fetched(tmp_path: Path) -> None:
    for source, said in (
        ("synthetic", "roadwork data generate"),
        ("image_folder", "docs/real-data.md"),
        ("mapillary", "sign in at https://www.mapillary.com/dataset/vistas"),
    ):
        done = run("data", "fetch", source, "--to", tmp_path / "x")
        assert done.exit_code == 0, done.output
        assert said in done.stdout
    done = run("data", "fetch", "mapillary", "--to", tmp_path)
    assert done.exit_code == 1
    assert "config_v2.0.json is missing" in done.stderr


def test_fetch_downloads_what_is_planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib
    from dataclasses import replace

    import roadwork.data.fetch.plan as module
    from roadwork.data.fetch.remote import Checksum, RemoteFile
    from roadwork.data.fetch.sources import PUBLISHED

    data = b"PAR1"
    published = tmp_path / "published"
    published.write_bytes(data)
    files = [
        RemoteFile(
            f"data/{split}-00000-of-00001.parquet",
            len(data),
            "http://127.0.0.1/unused",
            Checksum("sha256", hashlib.sha256(data).hexdigest()),
        )
        for split in ("train", "test")
    ]
    natix = replace(PUBLISHED["natix"], list_files=lambda client, base: files, token=lambda: None)
    monkeypatch.setattr(module, "published", lambda kind: natix)

    def bring(file: RemoteFile, folder: Path, client: object, update: object) -> Path:
        path = folder / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    monkeypatch.setattr(module, "download", bring)
    order = ("data", "fetch", "natix", "--to", tmp_path / "natix", "--part", "train", "--online")
    monkeypatch.setenv("COLUMNS", "200")
    dry = run(*order, "--dry-run")
    assert dry.exit_code == 0, dry.output
    assert files[0].name in dry.stdout and files[1].name not in dry.stdout
    assert not (tmp_path / "natix").exists()
    done = run(*order, "--accept-licence")
    assert done.exit_code == 0, done.output
    assert "1 files in" in done.stdout
    assert [path.name for path in (tmp_path / "natix" / "data").iterdir()] == [
        "train-00000-of-00001.parquet"
    ]
