from __future__ import annotations

import pytest
import yaml

from roadwork.evaluation.card import model_card
from roadwork.evaluation.record import EvaluationReport
from tests.evaluation.report_case import make_report


@pytest.fixture(scope="module")
def report() -> EvaluationReport:
    return make_report(240)


def card(report: EvaluationReport) -> str:
    return model_card(report, title="roadwork case", licence_notes=["Code: Apache-2.0."])


def test_front_matter_is_yaml_with_the_keys_of_a_model_hub(report: EvaluationReport) -> None:
    _, front, body = card(report).split("---\n", 2)
    fields = yaml.safe_load(front)
    assert fields["license"] == "apache-2.0"
    assert fields["library_name"] == "roadwork"
    assert {"auroc", "brier", "coverage_positive"} <= set(fields["metrics"])
    assert "synthetic-data" in fields["tags"]
    assert body.lstrip().startswith("# roadwork case\n")


def test_sections_and_figures(report: EvaluationReport) -> None:
    text = card(report)
    for heading in ("Intended use", "Figures", "Limits", "Data", "Exposure", "Licences"):
        assert f"\n## {heading}\n" in text
    auroc = report.rows[0].metrics["auroc"]
    written = f"| AUROC | {auroc.value:.3f} ({auroc.low:.3f} to {auroc.high:.3f}) |"
    assert written in text
    roadwork = report.conformal.classes["roadwork"]
    assert f"| roadwork | {roadwork.covered} of {roadwork.n} |" in text
    assert "| train | 300 | 200 | 50 |" in text
    assert report.conformal.guarantee.split(":")[0] in text
    assert "- Code: Apache-2.0." in text


def test_generated_scenes_are_said_so_and_real_ones_not(report: EvaluationReport) -> None:
    assert card(report).count("no evidence about real roads") == 2
    real = report.model_copy(update={"synthetic": False})
    assert "no evidence" not in card(real)
    assert "synthetic-data" not in card(real)


def test_nothing_from_data_becomes_markdown(report: EvaluationReport) -> None:
    evil = "a|b\n# heading <img src=x> [link](y)"
    column = report.slices[0]
    part = column.slices[0].model_copy(update={"name": evil})
    changed = report.model_copy(
        update={
            "slices": (column.model_copy(update={"slices": (part,)}),),
            "data": report.data.model_copy(update={"sources": {evil: report.test}}),
        }
    )
    text = card(changed)
    assert "<img" not in text.replace("\\<img", "")
    assert "\n# heading" not in text
    assert "a\\|b \\# heading \\<img src=x\\> \\[link\\](y)" in text


def test_equal_reports_give_equal_cards(report: EvaluationReport) -> None:
    assert card(EvaluationReport.from_json(report.to_json())) == card(report)
