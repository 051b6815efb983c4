"""Every check of the splits holds on good data and names the planted fault on bad data."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from roadwork.data import validation
from roadwork.data.leak_guard import leak_guard
from roadwork.data.manifest import DUPLICATES, QUARANTINE, Manifest, TrainSet
from roadwork.data.validation import (
    Check,
    ValidationReport,
    require_valid,
    validate_manifest,
)
from roadwork.errors import DataError, LeakageError
from roadwork.settings import DataSettings
from roadwork.settings.data import SourceExpectation
from tests.data import made

Parts = list[list[dict[str, Any]]]
TRAIN, SELECT, CALIBRATE, CONFORMAL, TEST = range(5)


def check_parts(parts: Parts) -> ValidationReport:
    rows = [row for part in made.good_parts() for row in part]
    return validate_manifest(made.manifest(rows), made.splits(parts), DataSettings())


def failed(report: ValidationReport) -> dict[str, Check]:
    return {check.name: check for check in report.checks if not check.success}


@pytest.fixture(scope="module")
def good() -> ValidationReport:
    return check_parts(made.good_parts())


def test_good_splits_pass_every_check(good: ValidationReport) -> None:
    assert failed(good) == {}
    assert good.success
    assert len(good.checks) == 48
    require_valid(good)


def test_counts(good: ValidationReport) -> None:
    assert list(good.counts) == ["train", "select", "calibrate", "conformal", "test"]
    assert {(c.images, c.groups, c.positives) for c in good.counts.values()} == {(8, 2, 4)}


def test_report_is_json(good: ValidationReport) -> None:
    assert ValidationReport.model_validate_json(good.model_dump_json()) == good


def test_page_needs_nothing_from_elsewhere(good: ValidationReport) -> None:
    assert "All 48 checks hold." in good.html
    for sign in ("http:", "https:", "src=", "<script", "url(", "@import"):
        assert sign not in good.html


def copy_group(parts: Parts) -> None:
    parts[TEST][0]["group_id"] = parts[TRAIN][0]["group_id"]


def copy_drive(parts: Parts) -> None:
    parts[CONFORMAL][0]["drive"] = parts[CALIBRATE][0]["drive"]


def copy_bytes(parts: Parts) -> None:
    parts[SELECT][0]["sha256"] = parts[TRAIN][1]["sha256"]


def copy_sample(parts: Parts) -> None:
    parts[SELECT][0]["sample_id"] = parts[SELECT][1]["sample_id"]


def copy_capture(parts: Parts) -> None:
    parts[TEST][1]["capture"] = parts[TRAIN][1]["capture"] = "v/000001/00030"


def look_alike(parts: Parts) -> None:
    parts[TEST][3]["phash"] = parts[SELECT][2]["phash"] ^ 0b1111  # four bits


@pytest.mark.parametrize(
    ("plant", "name", "offender"),
    [
        (copy_group, "group_in_one_set", "drive-0 (test: 32.jpg; train: 0.jpg)"),
        (copy_drive, "drive_in_one_set", "drive-4 (calibrate: 16.jpg; conformal: 24.jpg)"),
        (copy_bytes, "sha256_in_one_set", f"{made.row(1)['sha256']} (select: 8.jpg; train: 1.jpg)"),
        (copy_capture, "capture_in_one_set", "v/000001/00030 (test: 33.jpg; train: 1.jpg)"),
        (copy_sample, "sample_unique", f"8.jpg ({made.row(9)['sample_id']})"),
        (look_alike, "looks_distinct", "10.jpg (select) and 35.jpg (test): 4 of 64 bits differ"),
    ],
)
def test_a_planted_leak_is_found_alone_and_named(
    plant: Callable[[Parts], None], name: str, offender: str
) -> None:
    parts = made.good_parts()
    plant(parts)
    report = check_parts(parts)
    found = failed(report)
    assert list(found) == [name]
    assert found[name].leak
    assert found[name].offenders[0] == offender
    with pytest.raises(LeakageError) as caught:
        require_valid(report)
    assert offender in str(caught.value)


def test_five_bits_are_no_near_duplicate() -> None:
    parts = made.good_parts()
    parts[TEST][3]["phash"] = parts[SELECT][2]["phash"] ^ 0b11111
    assert check_parts(parts).success


def test_near_duplicates_within_a_set_are_allowed() -> None:
    parts = made.good_parts()
    parts[TRAIN][3]["phash"] = parts[TRAIN][2]["phash"]
    assert check_parts(parts).success


def no_positives(parts: Parts) -> None:
    for row in parts[CONFORMAL]:
        row["label"] = 0


def lost_row(parts: Parts) -> None:
    del parts[TRAIN][0]


@pytest.mark.parametrize(
    ("plant", "name", "offender"),
    [
        (no_positives, "classes_present", "conformal has no image of class 1"),
        (lost_row, "row_count", "the table has 39"),
    ],
)
def test_other_faults_are_data_errors(
    plant: Callable[[Parts], None], name: str, offender: str
) -> None:
    parts = made.good_parts()
    plant(parts)
    report = check_parts(parts)
    found = failed(report)
    assert list(found) == [name]
    assert not found[name].leak
    assert found[name].offenders == (offender,)
    with pytest.raises(DataError, match="1 of 48 checks") as caught:
        require_valid(report)
    assert not isinstance(caught.value, LeakageError)
    assert offender in str(caught.value)


def test_every_fault_of_a_value_is_found_by_its_own_check() -> None:
    parts = made.good_parts()
    train, test = parts[TRAIN], parts[TEST]
    train[0]["label"] = 2
    train[1]["luminance"] = 0.5
    train[2]["contrast"] = 0.25
    train[3]["sharpness"] = 0.0
    train[4] |= {"width": 10001, "height": 5000}
    train[5]["bytes"] = 0
    train[6] |= {"label": 0, "works_size": "small"}
    # Joined words are words, and a source of the user's own may use any.
    train[7] |= {"source": "natix-like", "weather": "Cloudy, Rain"}
    test[0]["sha256"] = test[0]["sha256"].upper()[:-1]
    test[1] |= {"source": "natix-like", "weather": "Rain, Frogs"}
    test[2] |= {"source": "my camera", "weather": "Frogs"}
    test[3] |= {"source": "vistas-like", "time_of_day": "Noon"}
    test[4] |= {"source": "vistas-like", "environment": "Moon"}
    test[5] |= {"label": 1, "source": "vistas-like", "works_size": "huge"}
    test[6]["city"], test[7]["city"] = "Boston", "boston "
    report = check_parts(parts)
    assert {name: check.offenders for name, check in failed(report).items()} == {
        "sha256_form": (f"32.jpg ({made.row(32)['sha256'].upper()[:-1]})",),
        "label_known": ("0.jpg (2)",),
        "words:time_of_day": ("35.jpg (Noon)",),
        "words:environment": ("36.jpg (Moon)",),
        "words:weather": ("33.jpg (Rain, Frogs)",),
        "words:works_size": ("37.jpg (huge)",),
        "one_spelling": ("city: 'Boston' and 'boston '",),
        "works_of_positives": ("6.jpg (small)",),
        "range:bytes": ("5.jpg (0)",),
        "range:megapixels": ("4.jpg (10001, 5000)",),
        "range:luminance": ("1.jpg (0.5)",),
        "range:luminance:mostly": ("1.jpg (0.5)",),
        "range:contrast": ("2.jpg (0.25)",),
        "range:contrast:mostly": ("2.jpg (0.25)",),
        "range:sharpness": ("3.jpg (0.0)",),
    }
    with pytest.raises(DataError, match="15 of 48 checks"):
        require_valid(report)


def test_one_night_in_two_hundred_is_normal() -> None:
    parts = made.good_parts(40)
    parts[TRAIN][0]["luminance"] = 3.0
    rows = [row for part in parts for row in part]
    assert validate_manifest(made.manifest(rows), made.splits(parts), DataSettings()).success
    parts[TRAIN][1]["luminance"] = 3.0
    report = validate_manifest(made.manifest(rows), made.splits(parts), DataSettings())
    assert list(failed(report)) == ["range:luminance:mostly"]
    assert failed(report)["range:luminance:mostly"].observed == 2


def test_a_wrong_type_is_named() -> None:
    parts = made.good_parts()
    sets = made.splits(parts)
    table = sets.train.table
    floats = table.column("luminance").cast(pa.float64())
    wrong = TrainSet(
        table.set_column(table.schema.get_field_index("luminance"), "luminance", floats)
    )
    rows = [row for part in parts for row in part]
    report = validate_manifest(made.manifest(rows), replace(sets, train=wrong), DataSettings())
    assert failed(report)["types"].offenders == ("luminance (float, double)",)


def copies_of(rows: list[dict[str, Any]], kept: str) -> pa.Table:
    return pa.Table.from_pylist(
        [{**row, "kept": kept, "reason": "content"} for row in rows], schema=DUPLICATES
    )


def test_the_drive_of_a_left_out_copy_must_be_where_the_kept_image_is() -> None:
    parts = made.good_parts()
    rows = [row for part in parts for row in part]
    together = {**made.row(900), "drive": parts[TRAIN][5]["drive"]}
    apart = {**made.row(901), "drive": parts[TEST][0]["drive"]}
    alone = {**made.row(902), "drive": "a drive of its own"}
    kept = parts[TRAIN][0]["sample_id"]
    whole = made.manifest(rows)
    manifest = Manifest(whole.table, whole.quarantine, copies_of([together, apart, alone], kept))
    report = validate_manifest(manifest, made.splits(parts), DataSettings())
    found = failed(report)
    assert list(found) == ["copies_stay_together"]
    assert found["copies_stay_together"].leak
    assert found["copies_stay_together"].offenders == ("901.jpg (train, test)",)
    lost = Manifest(whole.table, whole.quarantine, copies_of([together], "0" * 16))
    report = validate_manifest(lost, made.splits(parts), DataSettings())
    assert list(failed(report)) == ["copies_have_originals"]
    (aside,) = report.aside
    assert (aside.kind, aside.reason, aside.count) == ("copy", "content", 1)
    assert aside.examples == (f"900.jpg: the kept image is {'0' * 16}",)
    assert "900.jpg" in report.html


def test_held_out_sources_are_in_the_test_set_alone() -> None:
    parts = made.good_parts()
    for row in parts[TEST]:
        row["source"] = "far"
    rows = [row for part in parts for row in part]
    good = validate_manifest(made.manifest(rows), made.splits(parts), DataSettings(), ("far",))
    assert good.success
    parts[SELECT][3]["source"] = "far"
    bad = validate_manifest(made.manifest(rows), made.splits(parts), DataSettings(), ("far",))
    assert failed(bad)["held_out_in_test"].offenders == ("11.jpg (select, far)",)
    assert failed(bad)["held_out_in_test"].leak


def test_sources_must_be_as_expected_and_odd_rows_come_first() -> None:
    parts = made.good_parts()
    for number, row in enumerate(parts[TRAIN]):
        row["label"] = int(number != 5)  # two drives of four: 0 to 3 all positive, 4 to 7 but one
    rows = [row for part in parts for row in part]
    for row in rows:
        row["source"] = "all"
    settings = DataSettings(
        expect={
            "all": SourceExpectation(max_prior=0.5),
            "absent": SourceExpectation(min_images=3),
        }
    )
    report = validate_manifest(made.manifest(rows), made.splits(parts), settings)
    check = failed(report)["sources_expected"]
    assert check.offenders[0] == "absent has 0 images, expected 3 or more"
    assert check.offenders[1].startswith(
        "all: 57.5 % of its images show roadwork, expected 0 to 50 %"
    )
    assert check.offenders[2] == "9.jpg (label 1)"  # half of its drive says otherwise


def test_results_are_great_expectations_own_and_repeat(good: ValidationReport) -> None:
    from great_expectations.core.expectation_validation_result import (
        ExpectationSuiteValidationResultSchema,
    )

    tree = json.loads(good.results)
    loaded = ExpectationSuiteValidationResultSchema().load(tree)
    assert loaded["statistics"]["evaluated_expectations"] == len(good.checks)
    names = [result["expectation_config"]["meta"]["name"] for result in tree["results"]]
    assert names == [check.name for check in good.checks]
    assert check_parts(made.good_parts()) == good


def test_quarantine_is_told_apart_from_what_was_left_out() -> None:
    rows = [row for part in made.good_parts() for row in part]
    refused = [
        {"file": f"{n}.jpg", "source": "s", "reason": reason, "detail": "why", "fault": fault}
        for n, (reason, fault) in enumerate([("corrupt", True), ("ambiguous", False)] * 2)
    ]
    whole = made.manifest(rows)
    manifest = Manifest(
        whole.table, pa.Table.from_pylist(refused, schema=QUARANTINE), copies_of([], "")
    )
    aside = validate_manifest(manifest, made.splits(made.good_parts()), DataSettings()).aside
    assert [(one.kind, one.reason, one.count) for one in aside] == [
        ("damaged", "corrupt", 2),
        ("left out", "ambiguous", 2),
    ]
    assert aside[0].examples == ("0.jpg: why", "2.jpg: why")


def test_leak_guard_by_hand() -> None:
    # NULL for the two negatives and one of three positives: pairs won 4 + half of 2, of 6.
    rows = [
        made.row(
            n, label=int(n > 1), city="x" if n > 2 else None, works_size="small" if n else None
        )
        for n in range(5)
    ]
    guard = leak_guard(made.table(rows))
    assert guard.null_shares["city"] == {"none": 1.0, "roadwork": 1 / 3}
    assert guard.pooled == pytest.approx(5 / 6)
    assert guard.within_source == pytest.approx(5 / 6)
    apart = made.table([{**row, "source": str(row["label"])} for row in rows])
    assert leak_guard(apart).pooled == pytest.approx(5 / 6)
    assert leak_guard(apart).within_source is None


def test_a_broken_check_is_no_failure_of_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    from roadwork.data import offenders

    def explode(*_: object, **__: object) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(offenders, "near_pairs", explode)
    report = check_parts(made.good_parts())
    found = failed(report)
    assert list(found) == ["looks_distinct"]
    assert found["looks_distinct"].broken
    assert found["looks_distinct"].observed is None
    assert "planted" in found["looks_distinct"].detail
    assert "the check itself broke" in report.html
    with pytest.raises(DataError, match=r"the check itself broke.*planted") as caught:
        require_valid(report)
    assert not isinstance(caught.value, LeakageError)


def test_a_leak_outranks_other_faults() -> None:
    parts = made.good_parts()
    parts[TRAIN][0]["label"] = 2
    copy_group(parts)
    with pytest.raises(LeakageError, match="drive-0"):
        require_valid(check_parts(parts))


def test_at_most_twenty_offenders_are_named_but_all_are_counted() -> None:
    parts = [
        [{**row, "group_id": f"shared-{number}"} for number, row in enumerate(part)]
        for part in made.good_parts(24)
    ]
    rows = [row for part in parts for row in part]
    report = validate_manifest(made.manifest(rows), made.splits(parts), DataSettings())
    check = failed(report)["group_in_one_set"]
    assert check.observed == 24
    assert len(check.offenders) == 20
    assert check.verdict.endswith(", …")


def test_it_is_quiet(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    with caplog.at_level(logging.DEBUG):
        check_parts(made.good_parts())
    assert [record for record in caplog.records if "great_expectations" in record.name] == []
    out, err = capfd.readouterr()
    assert out == ""
    assert err == ""


def test_the_table_is_left_as_it_was() -> None:
    parts = made.good_parts()
    before = copy.deepcopy(parts)
    check_parts(parts)
    assert parts == before


def test_every_offender_text_is_escaped() -> None:
    parts = made.good_parts()
    parts[TRAIN][0]["file"] = "<img src=x>.jpg"
    parts[TRAIN][0]["label"] = 3
    page = check_parts(parts).html
    assert "<img" not in page
    assert "&lt;img src=x&gt;.jpg (3)" in page


def test_singular_and_plural_are_right() -> None:
    make: Any = lambda observed: validation.Check(  # noqa: E731
        name="n", title="t", leak=False, success=False, broken=False, observed=observed,
        offenders=(), detail="",
    )  # fmt: skip
    assert make(1).verdict == "1 offends"
    assert make(2).verdict == "2 offend"
