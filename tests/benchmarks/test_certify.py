"""The benchmarks of calibration and of metrics: their files, tables and plain loop, small."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.calibration import FIGURES, markdown, measure
from benchmarks.certify_scores import Scores, found_scores
from benchmarks.metrics import COMMON, drawn, plain_loop, sklearn_metrics
from roadwork.calibration import CALIBRATORS
from roadwork.calibration.base import from_margin
from roadwork.evaluation.bootstrap import bootstrap
from roadwork.evaluation.metrics import compute_metrics


def made_scores(n: int = 300) -> Scores:
    rng = np.random.default_rng(0)
    odds = rng.normal(scale=2.0, size=n)
    labels = (rng.random(n) < 1 / (1 + np.exp(-odds / 2))).astype(np.int64)
    names = np.array([f"drive {number // 3}" for number in range(n)])
    return Scores(from_margin(odds), labels, names, np.array(["city"] * n))


def test_scores_survive_their_file(tmp_path: Path) -> None:
    scores = made_scores()
    scores.save(tmp_path / "certify-scenes.npz")
    again = found_scores(tmp_path)["scenes"]
    for name, values in vars(scores).items():
        np.testing.assert_array_equal(getattr(again, name), values)
    with pytest.raises(SystemExit, match="certify_scores first"):
        found_scores(tmp_path / "nowhere")


def test_every_calibrator_is_measured_on_every_split() -> None:
    result = measure(made_scores(), parts=2, splits=2, scale=3.0)
    assert list(result["methods"]) == [*CALIBRATORS, "auto"]
    for figures in result["methods"].values():
        assert list(figures) == list(FIGURES)
        assert all(len(values) == 2 for values in figures.values())
    assert sum(result["taken"].values()) == 2
    table = markdown("scenes", result)
    assert "logits times 3" in table and "chosen (auto)" in table


def test_the_plain_loop_measures_what_the_registry_measures() -> None:
    scored = drawn(400)
    found = compute_metrics(scored, COMMON)
    theirs = sklearn_metrics(scored.labels, scored.probabilities[:, 1])
    assert [found[name].value for name in COMMON] == pytest.approx(theirs)
    # The same law of draws, other draws: the means agree within their noise.
    loop = np.array(plain_loop(scored, 200))
    ours = bootstrap(scored, COMMON, resamples=200)
    for name, values in zip(COMMON, loop.T, strict=True):
        metric = ours.metrics[name]
        assert metric.low is not None and metric.high is not None
        assert metric.low == pytest.approx(np.percentile(values, 2.5), abs=3 * values.std() / 4)
