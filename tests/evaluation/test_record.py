from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from roadwork.errors import DataError
from roadwork.evaluation.record import Check, EvaluationReport
from tests.evaluation.report_case import make_full_report, make_report

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def report() -> EvaluationReport:
    return make_report(120)


def test_json_round_trip_is_exact(report: EvaluationReport) -> None:
    again = EvaluationReport.from_json(report.to_json())
    assert again == report
    assert again.to_json() == report.to_json()
    assert again.content_hash == report.content_hash


def test_folder_round_trip(report: EvaluationReport, tmp_path) -> None:
    report.save(tmp_path)
    assert EvaluationReport.load(tmp_path) == report


def test_floats_have_ten_significant_digits_and_rounding_again_changes_nothing(
    report: EvaluationReport,
) -> None:
    assert report.rounded() == report
    floats: list[float] = []
    json.loads(report.to_json(), parse_float=lambda text: floats.append(float(text)))
    assert len(floats) > 500
    assert all(float(f"{value:.10g}") == value for value in floats)


def test_metrics_json_ignores_pictures_gates_and_parity_but_no_figure(
    report: EvaluationReport,
) -> None:
    check = Check(name="parity", passed=False, detail="0.2 > 0.001")
    bare = report.model_copy(
        update={
            "worst_errors": tuple(
                error.model_copy(update={"thumbnail": None}) for error in report.worst_errors
            )
        }
    )
    assert len(report.worst_errors) == 6
    assert bare != report
    same = bare.with_gates([check]).with_parity([check])
    assert same.metrics_json() == report.metrics_json()
    assert b"thumbnail" not in report.metrics_json()
    moved = report.conformal.model_copy(update={"singleton": 0.123})
    changed = report.model_copy(update={"conformal": moved})
    assert changed.metrics_json() != report.metrics_json()


def test_with_gates_leaves_the_original(report: EvaluationReport) -> None:
    judged = report.with_gates([Check(name="auroc", passed=True, detail="0.9 > 0.5")])
    assert report.gates is None
    assert judged.gates is not None
    assert judged.gates[0].name == "auroc"
    assert EvaluationReport.from_json(judged.to_json()) == judged


def test_no_clock_and_no_machine_path_in_the_json(report: EvaluationReport) -> None:
    text = report.to_json()
    assert not re.search(r"\d{4}-\d\d-\d\d|\d\d:\d\d:\d\d", text)
    paths = re.findall(
        r'"(/[^"]*/[^"]*)"', report.model_copy(update={"worst_errors": ()}).to_json()
    )
    assert paths == []


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"surprise": 1}, "surprise"),
        ({"schema_version": 2}, "schema_version"),
        ({"synthetic": "yes"}, "synthetic"),
        ({"rows": []}, "rows"),
    ],
)
def test_other_json_is_refused_with_the_place(
    report: EvaluationReport, change: dict[str, object], where: str
) -> None:
    tree = {**json.loads(report.to_json()), **change}
    with pytest.raises(DataError, match=f"{where}.*evaluate the model again"):
        EvaluationReport.from_json(json.dumps(tree))


def test_the_published_schema_is_that_of_the_json(report: EvaluationReport) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((DOCS / "report.schema.json").read_text(encoding="utf-8"))
    judge = jsonschema.Draft202012Validator(schema)
    judge.check_schema(schema)
    for made in (report, make_full_report(60)):
        judge.validate(json.loads(made.to_json()))
    tree = json.loads(report.to_json())
    tree["conformal"]["target"] = 2.0
    tree["surprise"] = 1
    assert {error.validator for error in judge.iter_errors(tree)} == {
        "maximum",
        "additionalProperties",
    }


def test_missing_file_is_a_data_error(tmp_path) -> None:
    with pytest.raises(DataError, match="cannot read the report"):
        EvaluationReport.load(tmp_path)


def test_thumbnail_must_be_small_base64(report: EvaluationReport) -> None:
    error = report.worst_errors[0].model_dump()
    for bad in ('"><script>', "A" * 20_000):
        with pytest.raises(ValidationError, match="thumbnail"):
            type(report.worst_errors[0]).model_validate({**error, "thumbnail": bad})


def test_rows_and_metrics_are_found_by_name(report: EvaluationReport) -> None:
    assert [row.key for row in report.rows] == ["model", "uncalibrated", "baseline"]
    assert report.metric("auroc", "baseline") == report.rows[2].metrics["auroc"]
    assert report.metric("no_such_metric") is None
    assert make_report(30, baseline=None).row("baseline") is None
