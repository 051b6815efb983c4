"""The literal command with three published forms of data in an S3 bucket, fused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from roadwork.data.manifest import Manifest
from roadwork.data.scenes import SceneSettings
from roadwork.data.scenes.formats.cmu_roadwork import write_cmu_roadwork
from roadwork.data.scenes.formats.mapillary import write_mapillary
from roadwork.data.scenes.formats.natix import write_natix
from tests.data import s3
from tests.pipelines.place import Place

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
KINDS = ("cmu_roadwork", "natix", "mapillary")
SCENES = SceneSettings(seed=5, drives=90, frames=(2, 3), width=192, height=108, faults=False)


def test_the_pipeline_runs_with_its_data_in_a_bucket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = tmp_path / "published"
    write_cmu_roadwork(local / "cmu_roadwork", SCENES)
    write_natix(local / "natix", SCENES)
    write_mapillary(local / "mapillary", SCENES)
    with s3.s3_server() as endpoint:
        variables = s3.environment(endpoint)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        s3.forget_clients()
        import s3fs

        store = s3fs.S3FileSystem(use_listings_cache=False)
        store.mkdir(s3.BUCKET)
        store.put(f"{local}/", s3.BUCKET, recursive=True)
        place = Place(tmp_path / "user", variables)
        root = f"s3://{s3.BUCKET}"
        sources = [{"kind": kind, "root": f"{root}/{kind}"} for kind in KINDS]
        shards = {"to": f"{root}/shards", "megabytes": 1}
        data = {"sources": sources, "fusion": {"near_duplicates": "drop"}, "shards": shards}
        output = place.run(data=data)
        written = store.find(f"{s3.BUCKET}/shards")
    assert output.count("has finished in") == 13, output[-4000:]
    assert [name for name in written if name.endswith(".tar")]
    assert list((place.runs / "shards").iterdir()), "training read the shards through the cache"
    figures = json.loads(place.metrics())
    assert set(figures["data"]["sources"]) == set(KINDS)
    (stored,) = (place.folder / "zenml" / "local_stores").rglob("duplicates.parquet")
    manifest = Manifest.load(stored.parent)
    addresses = manifest.table.column("uri").to_pylist()
    assert all(uri.startswith(f"{root}/") for uri in addresses)
    assert any("#row=" in uri for uri in addresses)
    reasons = set(manifest.duplicates.column("reason").to_pylist())
    assert reasons == {"capture", "content", "near"}
