"""One of several processes of a test: fine-tunes or pretrains as often as its folder says.

``python -m tests.training.ranks FOLDER``, started by :func:`roadwork.training.launch.run_workers`.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from roadwork.data.manifest import SelectSet, TrainSet
from roadwork.models.backbone import BACKBONES
from roadwork.training.finetune import Finetuned, finetune
from roadwork.training.pretrain import Pretrained, pretrain
from roadwork.training.processes import current
from roadwork.training.worker import at_work
from tests.training.made_photos import INFO, NAME, small_backbone, small_settings
from tests.training.test_finetune import Killed, stop_before


def run_case(folder: Path, case: dict[str, Any], checkpoints: Path) -> Finetuned | Pretrained:
    """Settings that differ from the smallest ones; ``task`` is none of them."""
    changes = {key: value for key, value in case.items() if key not in ("task", "stop")}
    settings = small_settings(**changes)
    backbone = small_backbone(settings)
    train = TrainSet.load(folder / "train")
    if case.get("task") == "pretrain":
        return pretrain(backbone, train, settings, checkpoints)
    return finetune(backbone, train, SelectSet.load(folder / "select"), settings, checkpoints)


def stop_case(folder: Path, case: dict[str, Any], checkpoints: Path) -> None:
    """Run until before the step ``stop``."""
    with pytest.MonkeyPatch.context() as patch:
        stop_before(patch, case["stop"], Killed())
        with pytest.raises(Killed):
            run_case(folder, case, checkpoints)


def run_cases(folder: Path) -> None:
    BACKBONES[NAME] = INFO  # pyright: ignore[reportIndexIssue]
    cases = json.loads((folder / "cases.json").read_text())
    for name, case in cases.items():
        checkpoints = folder / "checkpoints" / name
        if "stop" in case:
            stop_case(folder, case, checkpoints)
            current().wait()
            if current().first:
                shutil.copytree(checkpoints, folder / "kept" / name)
            current().wait()
        done = run_case(folder, case, checkpoints)
        (folder / f"{name}-{os.environ['RANK']}.json").write_text(json.dumps(done.history))
        if current().first:
            (folder / name).mkdir()
            done.save(folder / name)


if __name__ == "__main__":
    with at_work(Path(sys.argv[1])):
        run_cases(Path(sys.argv[1]))
