"""docs/tracking.md lists every name under which a run is kept."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from registry import tags
from registry.registration import report_metrics
from registry.training_facts import TrainingFacts
from roadwork.evaluation.metrics import METRICS
from roadwork.machine import describe_machine
from roadwork.training.curves import SCHEMA
from tests.evaluation.report_case import make_report

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "tracking.md").read_text()
NAMES = set(re.findall(r"`([^`\s]+)`", PAGE))


@pytest.mark.parametrize("part", ["Curves", "Metrics", "Parameters", "Tags", "Files"])
def test_every_part_has_its_table(part: str) -> None:
    section = PAGE.split(f"### {part}\n")[1].split("\n#")[0]
    assert section.count("\n| `") + section.count("\n| every") >= 4


def test_every_tag_and_file_is_listed() -> None:
    ours = {name: value for name, value in vars(tags).items() if name in tags.__all__}
    # These stand on versions and on the registered model, not on runs.
    for name in ("BUNDLE_PATH", "GATE", "PROMOTED_BY", "PROMOTED_REASON"):
        del ours[name]
    del ours["LEDGER_LINE"], ours["LEDGER_HEAD"]
    assert len(ours) >= 15
    assert set(ours.values()) <= NAMES


def test_every_metric_is_listed() -> None:
    patterns = [name for name in NAMES if "/" in name and not name.startswith("runs/")]
    known = sorted(METRICS, key=len, reverse=True)
    for name in report_metrics(make_report()):
        place, _, rest = name.partition("/")
        short = re.sub(rf"^({'|'.join(known)})(?=$|\.(?:low|high)$)", "METRIC", rest)
        short = re.sub(r"^coverage\.(none|roadwork)$", "coverage.CLASS", short)
        shown = f"{place}/…" if place != "val_test" else f"{place}/{short}"
        assert shown in patterns, name


def test_facts_of_training_are_listed() -> None:
    histories: dict[str, dict[str, Any]] = {
        "finetune": {
            "select_nll": [0.7],
            "best_epoch": 0,
            "environment": describe_machine(),
            "execution": {"attention": "sdpa"},
        }
    }
    facts = TrainingFacts.of(histories, hashes={"train": "a"}, seconds={"export": 1.0})
    for name in facts.params:
        head, _, rest = name.partition(".")
        if head == "environment":
            assert {"environment.STEP.NAME", rest.partition(".")[2]} <= NAMES
        else:
            assert {"data": "data.hash.ROLE", "execution": "execution.STEP.…"}[head] in NAMES
    assert {re.sub("seconds/.*", "seconds/STEP", name) for name in facts.metrics} <= NAMES
    assert set(SCHEMA.names) <= NAMES


def test_every_curve_that_the_code_logs_is_listed() -> None:
    root = Path(__file__).resolve().parents[2] / "roadwork"
    files = [*(root / "training").glob("*.py"), root / "cascade" / "module.py"]
    logged = {
        name
        for path in files
        for name in re.findall(r'"((?:train|select|pretrain|cascade)/\w+)"', path.read_text())
    }
    assert {"train/loss", "select/nll", "cascade/loss", "cascade/select_nll"} <= logged
    assert {name for name in logged if not name.startswith("pretrain/")} <= NAMES
    assert "pretrain/…" in NAMES
