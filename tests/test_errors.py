"""The tree of errors: what the command line and the service rely on."""

from __future__ import annotations

import pytest

from roadwork import errors
from roadwork.errors import DataError, LeakageError, RoadworkError


def test_every_error_is_ours_and_described() -> None:
    for name in errors.__all__:
        kind = getattr(errors, name)
        assert issubclass(kind, RoadworkError)
        assert kind.__doc__


def test_leakage_is_a_fault_of_data() -> None:
    assert issubclass(LeakageError, DataError)


@pytest.mark.parametrize(
    ("name", "code"),
    [("ConfigError", 2), ("GateFailed", 3), ("LeakageError", 1), ("BundleError", 1)],
)
def test_exit_codes(name: str, code: int) -> None:
    assert getattr(errors, name).exit_code == code
