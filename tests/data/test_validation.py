"""Every check of the splits holds on good data and names the planted fault on bad data."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from typing import Any

import pytest

from roadwork.data import validation
from roadwork.data.validation import (
    Check,
    ValidationReport,
    require_valid,
    validate_manifest,
)
from roadwork.errors import DataError, LeakageError
from roadwork.settings import DataSettings
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
    assert len(good.checks) == 23
    require_valid(good)


def test_counts(good: ValidationReport) -> None:
    assert list(good.counts) == ["train", "select", "calibrate", "conformal", "test"]
    assert {(c.images, c.groups, c.positives) for c in good.counts.values()} == {(8, 2, 4)}


def test_report_is_json(good: ValidationReport) -> None:
    assert ValidationReport.model_validate_json(good.model_dump_json()) == good


def test_page_needs_nothing_from_elsewhere(good: ValidationReport) -> None:
    assert "All 23 checks hold." in good.html
    for sign in ("http", "src=", "<script", "url(", "@import"):
        assert sign not in good.html


def copy_group(parts: Parts) -> None:
    parts[TEST][0]["group_id"] = parts[TRAIN][0]["group_id"]


def copy_drive(parts: Parts) -> None:
    parts[CONFORMAL][0]["drive"] = parts[CALIBRATE][0]["drive"]


def copy_bytes(parts: Parts) -> None:
    parts[SELECT][0]["sha256"] = parts[TRAIN][1]["sha256"]


def copy_sample(parts: Parts) -> None:
    parts[SELECT][0]["sample_id"] = parts[SELECT][1]["sample_id"]


def look_alike(parts: Parts) -> None:
    parts[TEST][3]["phash"] = parts[SELECT][2]["phash"] ^ 0b1111  # four bits


@pytest.mark.parametrize(
    ("plant", "name", "offender"),
    [
        (copy_group, "group_in_one_set", "drive-0 (test: 32.jpg; train: 0.jpg)"),
        (copy_drive, "drive_in_one_set", "drive-4 (calibrate: 16.jpg; conformal: 24.jpg)"),
        (copy_bytes, "sha256_in_one_set", f"{made.row(1)['sha256']} (select: 8.jpg; train: 1.jpg)"),
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


def bad_label(parts: Parts) -> None:
    parts[TRAIN][0]["label"] = 2


def bad_hash(parts: Parts) -> None:
    parts[TEST][0]["sha256"] = parts[TEST][0]["sha256"].upper()[:-1]


def no_positives(parts: Parts) -> None:
    for row in parts[CONFORMAL]:
        row["label"] = 0


def lost_row(parts: Parts) -> None:
    del parts[TRAIN][0]


@pytest.mark.parametrize(
    ("plant", "name", "offender"),
    [
        (bad_label, "label_known", "0.jpg (2)"),
        (no_positives, "classes_present", "conformal has no image of class 1"),
        (lost_row, "row_count", "the table has 39"),
        (
            bad_hash,
            "sha256_form",
            f"32.jpg ({made.row(32)['sha256'].upper()[:-1]})",
        ),
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
    with pytest.raises(DataError, match="1 of 23 checks") as caught:
        require_valid(report)
    assert not isinstance(caught.value, LeakageError)
    assert offender in str(caught.value)


def test_a_broken_check_is_no_failure_of_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    from roadwork.data import expectations

    def explode(*_: object) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(expectations, "near_pairs", explode)
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
    bad_label(parts)
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
