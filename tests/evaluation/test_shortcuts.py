"""Shortcut gates: planted leaks are found, priors alone are none, and generated scenes pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from roadwork.data.ingest import ingest
from roadwork.data.sources.synthetic import Synthetic
from roadwork.errors import DataError
from roadwork.evaluation.shallow_features import colour_features, metadata_features
from roadwork.evaluation.shortcuts import (
    GATE,
    ShortcutReport,
    colour_only_auroc,
    measure_shortcuts,
    metadata_only_auroc,
)
from roadwork.settings import DataSettings, SyntheticSource
from tests.data import made


def rows_of(groups: int, seed: int = 0, **priors: float) -> list[dict[str, Any]]:
    """Groups of four images of one label each, by source with its prior."""
    rng = np.random.default_rng(seed)
    rows = []
    for source, prior in (priors or {"made": 0.5}).items():
        for group in range(groups):
            label = int(group < prior * groups)
            city = f"city-{rng.integers(5)}"
            for _ in range(4):
                name = f"{source}-{group}"
                rows.append(made.row(len(rows), name, label, source=source, city=city))
    return rows


def test_priors_of_sources_are_told_apart_from_shortcuts() -> None:
    # Of 16 and 4 positive groups in 20 each, the source alone orders 16*16 + half of 2*64 of 400.
    table = made.table(rows_of(20, north=0.8, south=0.2))
    found = metadata_only_auroc(table, knows_source=True, resamples=50)
    assert found.pooled.value == pytest.approx(0.8, abs=0.1)
    assert found.within_source.value is not None
    assert 0.2 < found.within_source.value < GATE
    assert found.passes
    assert set(found.by_source) == {"north", "south"}


def test_missing_metadata_that_give_the_label_away_fail_the_gate() -> None:
    rows = rows_of(20, north=0.5, south=0.5)
    for row in rows:
        row["weather"] = "Rain" if row["label"] else None
    found = metadata_only_auroc(made.table(rows), resamples=50)
    assert found.within_source.value == 1.0
    assert not found.passes


def test_the_size_of_works_is_no_metadata() -> None:
    rows = rows_of(20)
    plain = metadata_features(made.table(rows))
    for row in rows:
        row["works_size"] = "large" if row["label"] else None
    assert np.array_equal(metadata_features(made.table(rows)), plain)


def test_a_word_that_names_the_group_does_not_help() -> None:
    rows = [{**row, "camera": row["group_id"]} for row in rows_of(24)]
    value = metadata_only_auroc(made.table(rows), resamples=20).within_source.value
    assert value is not None
    assert value < GATE


def test_the_same_seed_gives_the_same_figures_and_json_keeps_them() -> None:
    table = made.table(rows_of(12))
    first = metadata_only_auroc(table, resamples=20)
    assert metadata_only_auroc(table, resamples=20) == first
    assert type(first).model_validate_json(first.model_dump_json()) == first
    low, high = first.within_source.low, first.within_source.high
    assert low is not None
    assert high is not None
    assert low <= (first.within_source.value or 0) <= high


def test_too_few_groups_are_refused() -> None:
    with pytest.raises(DataError, match="class 1 is in 4"):
        metadata_only_auroc(made.table(rows_of(10, made=0.4)))


def painted(folder: Path, name: str, colour: tuple[int, int, int]) -> str:
    path = folder / name
    Image.new("RGB", (128, 72), colour).save(path)
    return str(path)


def test_colour_features_by_hand(tmp_path: Path) -> None:
    image = np.zeros((72, 128, 3), dtype=np.uint8)
    image[:18, 96:] = (255, 128, 0)  # the upper right one of 4 x 4 cells
    path = tmp_path / "a.png"
    Image.fromarray(image).save(path)
    found = colour_features([str(path)])
    means = found["colour means"].reshape(4, 4, 3)
    assert means[0, 3].tolist() == [255, 128, 0]
    assert means.sum() == 255 + 128
    counts = found["colour histogram"][0]
    assert counts.sum() == pytest.approx(4)  # three channels, and the joint histogram
    assert counts[[0, 15, 16, 24, 32]].tolist() == [15 / 16, 1 / 16, 15 / 16, 1 / 16, 1]
    joint = counts[48:]
    assert joint[0] == 15 / 16
    assert joint[3 * 16 + 2 * 4 + 0] == 1 / 16


def test_a_colour_that_is_the_label_fails_the_gate(tmp_path: Path) -> None:
    rows = rows_of(10)
    colours = [painted(tmp_path, "0.png", (90, 90, 90)), painted(tmp_path, "1.png", (120, 90, 90))]
    table = made.table([{**row, "uri": colours[row["label"]]} for row in rows])
    found = {one.name: one for one in colour_only_auroc(table, resamples=20)}
    assert list(found) == ["colour means", "colour histogram"]
    assert all(one.within_source.value == 1.0 and not one.passes for one in found.values())


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    source = Synthetic(SyntheticSource(), 0, tmp_path_factory.mktemp("scenes"))
    return ingest([source], DataSettings(workers=1)).table


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")  # one is planted
def test_generated_scenes_have_no_shortcut(generated: pa.Table) -> None:
    """The default data: below 0.65 over all pairs and within sources; one half when shuffled."""
    report = measure_shortcuts(generated, resamples=100)
    figures = {
        (one.name, one.knows_source): (one.pooled.value, one.within_source.value)
        for one in report.shortcuts
    }
    assert len(figures) == 6
    for values in figures.values():
        assert all(value is not None and value < GATE for value in values), figures
    assert report.passes
    assert report.source_alone.within_source.value == 0.5
    assert report.source_alone.pooled.value == pytest.approx(0.5, abs=0.1)
    for control in report.shuffled:
        assert control.pooled.value == pytest.approx(0.5, abs=0.07)
        assert control.within_source.value == pytest.approx(0.5, abs=0.07)
    assert ShortcutReport.model_validate_json(report.model_dump_json()) == report
