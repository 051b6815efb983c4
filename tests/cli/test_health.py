"""What doctor says of the data folder: it looks at the disk and asks no store."""

from __future__ import annotations

from pathlib import Path

from cli.health import _data
from roadwork.environment import Environment


def test_the_data_folder(tmp_path: Path) -> None:
    assert "is not set" in _data(Environment())
    assert _data(Environment(data=str(tmp_path))) == f"{tmp_path} (without manifest.csv)"
    (tmp_path / "manifest.csv").touch()
    assert _data(Environment(data=f"file://{tmp_path}")) == f"{tmp_path} (with manifest.csv)"
    assert "nowhere, which is no folder" in _data(Environment(data=str(tmp_path / "nowhere")))


def test_an_object_store_is_not_asked() -> None:
    # No such bucket or server exists: asking would fail.
    found = _data(Environment(data="s3://nowhere/photographs"))
    assert found == "s3://nowhere/photographs (an object store, which is not asked here)"
