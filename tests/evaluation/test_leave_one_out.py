"""Leave one source out: nothing sees the source, and what cannot be held out is named."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from roadwork.data.manifest import Manifest
from roadwork.errors import ConfigError, DataError
from roadwork.evaluation import leave_one_out as module
from roadwork.evaluation.leave_one_out import (
    LeaveOneOutReport,
    leave_one_source_out,
    run_leave_one_out,
    score_held_out,
)
from roadwork.evaluation.metrics import compute_metrics
from roadwork.models.backbone import BACKBONES
from roadwork.training.views import SharedViews
from tests.data import made
from tests.training.made_photos import INFO, NAME, photo_rows, small_backbone, small_settings

SOURCES = ("cmu", "mapillary", "natix")
SETTINGS = small_settings(
    finetune={"epochs": 1},
    pretrain={"enabled": False},
    evaluate={"bootstrap": 100},
    split={"select": 0.2, "calibrate": 0.2, "conformal": 0.15, "test": 0.1},
)


@pytest.fixture(autouse=True, scope="module")
def two_blocks() -> Iterator[None]:
    """The registry knows the small backbone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, NAME, INFO)
        yield


def manifest_of(folder: Path, **labels: int) -> Manifest:
    """Three sources of 32 pictures in groups of four; ``labels`` fixes the label of a source."""
    rows: list[dict[str, Any]] = []
    for source, (start, stop) in zip(SOURCES, pairwise([0, 32, 64, 96]), strict=True):
        for row in photo_rows(folder, range(start, stop)):
            row["source"] = source
            row["label"] = labels.get(source, row["label"])
            rows.append(row)
    return made.manifest(rows)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return manifest_of(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def report(manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> LeaveOneOutReport:
    return run_leave_one_out(manifest, SETTINGS, tmp_path_factory.mktemp("out"))


def test_every_source_is_the_test_set_once(manifest: Manifest) -> None:
    found = dict(leave_one_source_out(manifest, SETTINGS))
    assert tuple(found) == SOURCES
    for source, splits in found.items():
        assert set(splits.test.column("source")) == {source}
        assert len(splits.test) == 32
        for part in splits.each()[:-1]:
            assert set(part.column("source")) == set(SOURCES) - {source}


def test_the_report_holds_the_figures_of_the_unseen_source(
    manifest: Manifest, report: LeaveOneOutReport, tmp_path: Path
) -> None:
    assert [held.source for held in report.sources] == list(SOURCES)
    assert {(held.images, held.drives, held.roadwork) for held in report.sources} == {(32, 8, 0.5)}
    source, splits = list(leave_one_source_out(manifest, SETTINGS))[1]
    scores = score_held_out(
        source, splits, small_backbone(SETTINGS), SETTINGS, tmp_path, views=SharedViews(SETTINGS)
    )
    assert (scores.scored.labels == splits.test.labels).all()
    assert not np.isin(
        np.concatenate([ids.samples for ids in scores.tuned.classifier.exposure.uses.values()]),
        splits.test.sample_ids,
    ).any()
    expected = compute_metrics(scores.scored, ["auroc", "mcc", "nll"])
    for name, metric in report.sources[1].metrics.items():
        assert metric.value == expected[name].value
        if metric.value is not None:
            assert metric.low is not None and metric.high is not None
            assert metric.low <= metric.value <= metric.high


def test_equal_inputs_give_equal_bytes(
    manifest: Manifest, report: LeaveOneOutReport, tmp_path: Path
) -> None:
    np.random.default_rng().random()
    again = run_leave_one_out(manifest, SETTINGS, tmp_path)
    assert again == report
    written = (tmp_path / "leave_one_out.json").read_text()
    assert LeaveOneOutReport.model_validate_json(written) == report


def test_the_table_names_every_source_and_the_mean(report: LeaveOneOutReport) -> None:
    lines = report.table().splitlines()
    assert len(lines) == 5
    assert lines[0].split()[:5] == ["held", "out", "images", "drives", "roadwork"]
    for line, held in zip(lines[1:4], report.sources, strict=True):
        metric = held.metrics["auroc"]
        assert line.split()[:4] == [held.source, "32", "8", "0.50"]
        assert f"{metric.value:.3f} [{metric.low:.3f}, {metric.high:.3f}]" in line
    values = [held.metrics["auroc"].value for held in report.sources]
    assert report.mean("auroc") == pytest.approx(np.mean([v for v in values if v is not None]))
    assert f"{report.mean('auroc'):.3f}" in lines[4]


def test_a_source_of_one_label_is_left_out_and_named(tmp_path: Path) -> None:
    report = run_leave_one_out(manifest_of(tmp_path, cmu=1), SETTINGS, tmp_path)
    cmu, mapillary, natix = report.sources
    assert cmu.reason is not None and "cmu" in cmu.reason and cmu.metrics == {}
    assert mapillary.reason is None and natix.reason is None
    assert "cmu" in report.table() and "left out: " in report.table()
    values = [held.metrics["nll"].value for held in (mapillary, natix)]
    assert report.mean("nll") == pytest.approx(sum(v for v in values if v is not None) / 2)


def test_nothing_to_hold_out_is_an_error(tmp_path: Path) -> None:
    one = made.manifest([made.row(n) for n in range(8)])
    with pytest.raises(ConfigError, match=r"at least two sources; the manifest has 1 \(made\)"):
        run_leave_one_out(one, SETTINGS, tmp_path)
    everywhere = manifest_of(tmp_path, cmu=1, mapillary=0, natix=1)
    with pytest.raises(DataError, match="no source can be held out"):
        run_leave_one_out(everywhere, SETTINGS, tmp_path)


def test_the_share_of_the_source_that_is_held_out_is_dropped() -> None:
    shares = {"cmu": 1.0, "mapillary": 2.0}
    settings = small_settings(finetune={"sampling": {"balance": "source", "source_shares": shares}})
    found = module._settings_without("cmu", settings)
    assert found.finetune.sampling.source_shares == {"mapillary": 2.0}
    assert settings.finetune.sampling.source_shares == shares


def test_shared_views_are_decoded_once_and_only_as_memory_allows(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    from roadwork.data import loading

    decoded: list[int] = []
    original = loading.decode_image

    def count(data: Any, **options: Any) -> Any:
        decoded.append(1)
        return original(data, **options)

    monkeypatch.setattr(loading, "decode_image", count)
    first, second = [splits for _, splits in leave_one_source_out(manifest, SETTINGS)][:2]
    views = SharedViews(SETTINGS)
    whole = {uri: views(part)(row) for part in first.each() for row, uri in enumerate(part.uris)}
    assert len(decoded) == 96
    for part in second.each():
        taken = views(part).take(range(len(part)))
        assert (taken == np.stack([whole[uri] for uri in part.uris])).all()
    assert len(decoded) == 96
    small = SharedViews(SETTINGS, memory=10 * whole[first.test.uris[0]].nbytes)
    for _ in range(2):
        small(first.test).take(range(32))
    assert len(small.kept) == 10
    assert len(decoded) == 96 + 32 + 22


@pytest.mark.parametrize(("gigabytes", "expected"), [(1.0, 32), (0.0, 64)])
def test_shared_views_of_a_set_beyond_memory_are_kept_on_disk(
    gigabytes: float,
    expected: int,
    manifest: Manifest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from roadwork.data import loading

    decoded: list[int] = []
    original = loading.decode_image

    def count(data: Any, **options: Any) -> Any:
        decoded.append(1)
        return original(data, **options)

    monkeypatch.setattr(loading, "decode_image", count)
    monkeypatch.setattr(loading, "_CACHE_BYTES", 0)
    compute = SETTINGS.compute.model_copy(update={"view_cache_gigabytes": gigabytes})
    settings = SETTINGS.model_copy(update={"runs": tmp_path, "compute": compute})
    dataset = next(splits for _, splits in leave_one_source_out(manifest, SETTINGS)).test
    reader = SharedViews(settings, memory=0)(dataset)
    first, again = (reader.take(range(len(dataset))) for _ in range(2))
    assert (first == again).all()
    assert len(decoded) == expected
    assert (tmp_path / "views").exists() == (gigabytes > 0)
