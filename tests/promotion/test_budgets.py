"""Size and time of a bundle."""

from __future__ import annotations

from pathlib import Path

from roadwork.promotion.budgets import measure_latency, megabytes
from tests.bundle.make_bundle import make_bundle


def test_size_counts_every_file_and_time_is_that_of_answers(tmp_path: Path) -> None:
    small = make_bundle(tmp_path / "small")
    large = make_bundle(tmp_path / "large", {"LICENSE": b"x" * 2_000_011})
    assert 0 < megabytes(small) < 1
    # The licence of the small one has 11 bytes, and both manifests are left out.
    assert round((megabytes(large) - megabytes(small)) * 1e6) == 2_000_000
    found = measure_latency(small)
    assert found.answers == 3 * len(small.golden().cases)
    assert found.milliseconds > 0
    assert found.engine in ("onnxruntime", "openvino")
