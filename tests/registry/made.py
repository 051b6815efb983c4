"""Registered versions made by hand: a tiny bundle, a small report, and the scores behind it."""

from __future__ import annotations

import atexit
import logging
import shutil
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from registry import Registry, open_registry, register_bundle
from roadwork.bundle import ModelBundle
from roadwork.calibration.base import softmax
from roadwork.data.manifest import TestSet
from roadwork.environment import Environment
from roadwork.evaluation.record import EvaluationReport
from roadwork.pairing import TestScores
from tests.bundle.make_bundle import make_bundle
from tests.evaluation.report_case import make_logits, make_report, make_settings, make_table

START = 90_000
"""Number of the first test image of ``report_case``."""


@dataclass(frozen=True)
class NewStore:
    """An empty SQLite store, and our logging before and after it was set up."""

    database: Path
    handlers_before: list[logging.Handler]
    handlers_after: list[logging.Handler]
    level_before: int
    level_after: int
    disabled: bool


@cache
def new_store() -> NewStore:
    """Set up once in a process, and copied for each test: it takes seconds."""
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    root, ours = logging.getLogger(), logging.getLogger("roadwork.some.module")
    handler = logging.NullHandler()
    root.addHandler(handler)
    before, level = list(root.handlers), root.level
    open_registry(Environment(), Path(folder)).client.search_experiments()
    seen = NewStore(
        Path(folder, "mlflow.db"), before, list(root.handlers), level, root.level, ours.disabled
    )
    root.removeHandler(handler)
    return seen


@dataclass(frozen=True)
class Made:
    version: str
    bundle: ModelBundle
    report: EvaluationReport
    scores: TestScores


def make_scores(strength: float, start: int = START, rows: int = 240, seed: int = 2) -> TestScores:
    test = TestSet(make_table(rows, start=start))
    return TestScores.of(test, softmax(make_logits(test.labels, strength, seed) / 1.5))


def sealed_bundle(folder: Path, report: EvaluationReport) -> ModelBundle:
    """A bundle with the report's figures, and a card that makes its hash its own."""
    card = f"# {folder.name}\n".encode()
    return make_bundle(folder, {"metrics.json": report.metrics_json(), "README.md": card})


def make_version(
    registry: Registry,
    folder: Path,
    strength: float = 2.2,
    start: int = START,
    with_scores: bool = True,
) -> Made:
    scores = make_scores(strength, start)
    report = make_report(strength=strength, test=TestSet(make_table(240, start=start)))
    bundle = sealed_bundle(folder, report)
    version = register_bundle(
        bundle.path,
        report,
        make_settings(),
        run_name=folder.name,
        data_hash="d" * 64,
        scores=scores if with_scores else None,
        metrics={"seconds/total": 12.5},
        params={"host.cores": "2"},
        registry=registry,
    )
    return Made(version, bundle, report, scores)
