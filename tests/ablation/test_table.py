"""The table: arithmetic by hand, failed rows, effects, the winner, and what is written of it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from roadwork.ablation.cell import CellResult
from roadwork.ablation.choice import settings_snippet
from roadwork.ablation.expansion import expand
from roadwork.ablation.files import write_files
from roadwork.ablation.grid import Cell, Grid
from roadwork.ablation.markdown import render_markdown
from roadwork.ablation.page import headline, render_page
from roadwork.ablation.record import AblationReport
from roadwork.ablation.table import tabulate
from roadwork.errors import DataError
from roadwork.settings import parse_settings
from roadwork.settings.ablation import parse_ablation
from tests.ablation import made

STRENGTHS = {0: 0.4, 1: 0.5, 2: 3.0, 3: 3.2}


@pytest.fixture(scope="module")
def report() -> AblationReport:
    return made.report(made.by_strength(STRENGTHS))


def test_the_arithmetic_of_a_row(report: AblationReport) -> None:
    row = report.variants[2]
    sign = 2 * made.LABELS - 1
    losses = [np.log1p(np.exp(-sign * made.answers(3.0, 20 + seed))).mean() for seed in (0, 1)]
    found = row.metrics["nll"]
    assert found.by_seed == pytest.approx(losses)
    assert found.mean == pytest.approx(np.mean(losses))
    assert found.spread == pytest.approx(abs(losses[0] - losses[1]) / np.sqrt(2))
    base = report.variants[0].metrics["nll"].mean
    assert base is not None
    assert row.differences["nll"].value == pytest.approx(np.mean(losses) - base)
    assert (row.trained, row.views, row.seconds) == (1000, 10, 2.5)
    assert [cell.best_epoch for cell in row.cells] == [1, 2]
    assert report.variants[0].differences == {}
    assert (report.images, report.groups, report.roadwork) == (96, 24, 0.5)


def test_statements_and_winner(report: AblationReport) -> None:
    says = [row.differences["nll"].says for row in report.variants[1:]]
    assert says == ["cannot tell", "better", "better"]
    assert report.winner == 3
    adjusted = [row.differences["nll"].adjusted for row in report.variants[1:]]
    p = [row.differences["nll"].p for row in report.variants[1:]]
    assert adjusted[1] == pytest.approx(3 * p[1]) and adjusted[2] == pytest.approx(3 * p[2])  # pyright: ignore
    assert headline(report) == "Of 3 variants 2 are better than the baseline, and none is worse"


def test_main_effects_are_means_over_the_other_axis(report: AblationReport) -> None:
    adapter, loss = report.effects
    assert (adapter.axis, adapter.value, adapter.reference) == ("finetune.adapter", "dora", "lora")
    assert (loss.axis, loss.value, loss.reference, loss.pairs) == (
        "finetune.loss.name", "focal", "cross_entropy", 2,
    )  # fmt: skip
    nll = [row.metrics["nll"].mean for row in report.variants]
    assert adapter.differences["nll"].value == pytest.approx(
        ((nll[2] - nll[0]) + (nll[3] - nll[1])) / 2  # pyright: ignore
    )
    assert loss.differences["nll"].value == pytest.approx(
        ((nll[1] - nll[0]) + (nll[3] - nll[2])) / 2  # pyright: ignore
    )
    assert adapter.differences["nll"].says == "better"


def test_one_axis_has_no_main_effects_and_exclusions_take_pairs() -> None:
    single = made.small_grid(axes={"finetune.adapter": ["lora", "dora", "full"]})
    assert made.report(made.by_strength({0: 1, 1: 1, 2: 2}), single).effects == ()
    grid = made.small_grid(exclude=[{"finetune.adapter": "dora", "finetune.loss.name": "focal"}])
    effects = made.report(made.by_strength({0: 1, 1: 1, 2: 2}), grid).effects
    assert [effect.pairs for effect in effects] == [1, 1]


def test_a_failed_cell_is_a_row_and_no_end_of_the_others() -> None:
    report = made.report(made.by_strength(STRENGTHS, failing=(3,)))
    row = report.variants[3]
    assert row.failures == ("the loss is nan",)
    assert row.metrics == {} and row.differences == {}
    assert [cell.failure for cell in row.cells] == [None, "the loss is nan"]
    assert report.winner == 2
    assert report.variants[2].differences["nll"].says == "better"
    assert [effect.pairs for effect in report.effects] == [1, 1]
    assert "failed: the loss is nan" in render_page(report)
    assert "failed: the loss is nan" in render_markdown(report)


@pytest.mark.parametrize(
    ("failing", "words"),
    [
        ((3,), "Of 2 variants 1 is better than the baseline, and none is worse; 1 failed"),
        ((1, 2), "The one variant to compare is better than the baseline; 2 failed"),
        ((2, 3), "The one variant to compare cannot be told from the baseline; 2 failed"),
        ((1, 2, 3), "Every other variant failed, so that nothing can be compared with the base"),
    ],
)
def test_the_headline_counts_what_was_compared(failing: tuple[int, ...], words: str) -> None:
    assert headline(made.report(made.by_strength(STRENGTHS, failing))).startswith(words)


def test_the_hash_of_a_grid_sees_what_all_its_variants_share() -> None:
    def tabulated(base: dict[str, Any]) -> AblationReport:
        grid = expand({"name": "made", **base}, parse_ablation({"axes": made.AXES, "seeds": [0]}))
        return made.report(made.by_strength(STRENGTHS), grid)

    plain = tabulated({})
    assert tabulated({}).grid_hash == plain.grid_hash
    assert tabulated({"runs": "elsewhere"}).grid_hash == plain.grid_hash
    assert tabulated({"finetune": {"epochs": 7}}).grid_hash != plain.grid_hash


def test_without_a_baseline_nothing_is_compared() -> None:
    report = made.report(made.by_strength(STRENGTHS, failing=(0,)))
    assert report.winner == 3
    assert all(row.differences == {} for row in report.variants)
    assert headline(report).startswith("The baseline failed")
    assert "could not be compared with the baseline" in settings_snippet(report)
    render_page(report)


def test_when_all_fail_there_is_a_page_and_no_winner() -> None:
    report = made.report(made.by_strength(STRENGTHS, failing=(0, 1, 2, 3)))
    assert report.winner is None
    assert settings_snippet(report) == ""
    assert headline(report) == "Every variant failed"
    assert "Every variant failed." in render_page(report)
    render_markdown(report)


def test_folds_are_put_together_before_they_are_judged() -> None:
    whole = made.small_grid(axes={"finetune.adapter": ["lora", "dora"]})
    cut = made.small_grid(axes={"finetune.adapter": ["lora", "dora"]}, folds=3)

    def of_fold(grid: Grid, cell: Cell) -> CellResult:
        everything = made.answers(1.0 + cell.variant, 10 * cell.variant + cell.seed)
        if cell.fold is None:
            return made.result(grid, cell, everything)
        rows = np.flatnonzero(np.arange(made.IMAGES) // 4 % 3 == cell.fold)
        return made.result(grid, cell, everything[rows], rows)

    one, three = made.report(of_fold, whole), made.report(of_fold, cut)
    assert len(three.variants[0].cells) == 6
    for left, right in zip(one.variants, three.variants, strict=True):
        assert left.metrics == right.metrics
        assert left.differences == right.differences
    assert "has also chosen each run's pass" in render_page(one).replace("&#x27;", "'")
    assert "has also chosen each run's pass" not in render_page(three).replace("&#x27;", "'")
    assert "3 folds of TRAIN and VAL_SELECT" in settings_snippet(three)


def test_results_of_other_settings_or_images_are_refused() -> None:
    grid, other = made.small_grid(), made.small_grid(seeds=[0, 5])
    results = [made.by_strength(STRENGTHS)(other, cell) for cell in other.cells()]
    with pytest.raises(DataError, match="cell_00_seed_1 belongs to other settings"):
        tabulate(grid, results, name="made", synthetic=False, seed=0)

    def fewer(grid: Grid, cell: Cell) -> CellResult:
        rows = np.arange(made.IMAGES - (4 if cell.variant == 2 else 0))
        return made.result(grid, cell, made.answers(1.0, 0)[rows], rows)

    with pytest.raises(DataError, match="adapter dora, loss cross_entropy with seed 0 was judged"):
        made.report(fewer)


def test_the_snippet_is_settings(report: AblationReport) -> None:
    text = settings_snippet(report)
    tree = yaml.safe_load(text)
    assert tree == {"finetune": {"adapter": "dora", "loss": {"name": "focal"}}}
    assert parse_settings(tree).finetune.adapter == "dora"
    assert "never judged on test" in text
    assert "is better than the baseline" in text
    assert "no evidence about real roads" in text
    assert "no evidence" not in settings_snippet(
        made.report(made.by_strength(STRENGTHS), synthetic=False)
    )


def test_the_files(report: AblationReport, tmp_path: Path) -> None:
    files = write_files(report, tmp_path, "ablation-made")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"ablation-made.{end}" for end in ("html", "json", "md", "parquet", "winner.yaml")
    ]
    loaded = AblationReport.model_validate_json((tmp_path / "ablation-made.json").read_text())
    assert loaded == report
    table = pq.read_table(tmp_path / "ablation-made.parquet")
    assert table.num_rows == 8
    assert table.column("finetune.adapter").to_pylist() == ["lora"] * 4 + ["dora"] * 4
    assert table.column("nll").to_pylist()[:2] == pytest.approx(
        report.variants[0].metrics["nll"].by_seed
    )
    assert json.loads(report.to_json())["winner"] == 3
    again = made.report(made.by_strength(STRENGTHS))
    assert again.to_json() == report.to_json()
    assert files.page.read_text() == render_page(again)


def test_the_page_is_whole_escaped_and_asks_for_nothing_from_elsewhere() -> None:
    axes = {"finetune.adapter": ["lora"], "rank": {"<i>&": {"finetune.rank": 4}, "x": {}}}
    page = render_page(made.report(made.by_strength({0: 0.2, 1: 2.0}), made.small_grid(axes=axes)))
    assert "<i>&" not in page and "&lt;i&gt;&amp;" in page
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page)
    assert "<script" not in page
    assert page.count("<svg") == page.count("</svg>") == 3
    assert page.count('class="dot"') == 3, "one variant in each of three plots"
    assert "Generated scenes." in page
