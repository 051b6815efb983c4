"""The gate compares a recalibration with its champion on the recalibration's own test set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from registry import Registry, collect_evidence, register_bundle
from registry.evidence import load_scores
from registry.tags import CHAMPION_SCORES, RECALIBRATED_FROM
from roadwork.data.manifest import TestSet
from roadwork.evaluation.evaluate import Baseline
from roadwork.pairing import TestScores
from tests.evaluation.report_case import make_report, make_settings, make_table
from tests.registry.made import Made, make_scores, sealed_bundle

NEW = 95_000
"""Number of the first image of a test set that has nothing in common with the champion's own."""


@pytest.fixture
def champion(registry: Registry, make: Callable[..., Made]) -> Made:
    made = make("first")
    registry.client.set_registered_model_alias(registry.model_name, "champion", made.version)
    return made


def register(registry: Registry, folder: Path, new: TestScores, old: TestScores, of: str) -> str:
    test = TestSet(make_table(240, start=NEW))
    positive = old.probabilities
    baseline = Baseline("The champion", "", np.stack([1 - positive, positive], axis=1))
    report = make_report(strength=2.2, test=test, baseline=baseline)
    bundle = sealed_bundle(folder, report)
    version = register_bundle(
        bundle.path,
        report,
        make_settings(),
        run_name=folder.name,
        data_hash="e" * 64,
        scores=new,
        recalibrated=(of, old),
        registry=registry,
    )
    return version


def test_both_are_compared_on_the_new_test_set(
    registry: Registry, champion: Made, tmp_path: Path
) -> None:
    new, old = make_scores(2.2, NEW), make_scores(0.4, NEW)
    version = register(registry, tmp_path / "again", new, old, champion.bundle.hash)
    found = collect_evidence(registry, version).champion
    assert found is not None and found.version == champion.version
    assert found.reason is None and found.opening is not None
    (better,) = found.comparisons
    assert better.figure == "mcc" and better.n_groups == 41
    assert better.gain is not None and better.gain > 0.1
    assert better.candidate is not None and better.champion is not None
    assert better.gain == pytest.approx(better.candidate - better.champion)
    tags = registry.client.get_model_version(registry.model_name, version).tags
    assert tags[RECALIBRATED_FROM] == champion.bundle.hash
    kept = load_scores(
        registry,
        registry.client.get_model_version(registry.model_name, version),
        CHAMPION_SCORES,
    )
    assert kept.content_hash == old.content_hash


def test_answers_of_another_bundle_than_the_champion_do_not_count(
    registry: Registry, champion: Made, tmp_path: Path
) -> None:
    new, old = make_scores(2.2, NEW), make_scores(0.4, NEW)
    version = register(registry, tmp_path / "again", new, old, "0" * 64)
    found = collect_evidence(registry, version).champion
    assert found is not None and found.opening is None
    assert found.reason is not None and "tested on different images" in found.reason
