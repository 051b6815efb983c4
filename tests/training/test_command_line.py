"""Lightning's command line: the same training as the library's, from a literal command."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from roadwork.data.splits import Splits
from roadwork.errors import ConfigError, TrainingError
from roadwork.models.classifier import Classifier
from roadwork.models.embedder import embed_images
from roadwork.settings import parse_settings, resolve
from roadwork.training import data_module
from roadwork.training import supervised as module
from roadwork.training.data_module import RoadworkData
from roadwork.training.finetune import Finetuned, finetune
from roadwork.training.trainer_options import require_planned
from tests.data import made
from tests.training.made_photos import NAME, SIZE, photo_rows, small_backbone
from tests.training.test_finetune import dictate

pytest.importorskip("jsonargparse", reason="the extra `cli` is not installed")
from roadwork.training.command_line import TrainingCLI

ROOT = Path(__file__).parents[2]
ADVICE = "ignore:.*(does not have many workers|exists and is not empty|isinstance.treespec).*"


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.fixture
def door(sets: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Calls the command line on twenty small pictures; gives what it built."""
    monkeypatch.setattr(data_module, "ingest", lambda *_: None)
    monkeypatch.setattr(data_module, "cut", lambda *_: sets)
    arguments = [
        "--trainer.default_root_dir", str(tmp_path / "lightning"),
        "--trainer.enable_progress_bar", "false",
        "--trainer.accelerator", "cpu",
        "--data.batch_size", "5",
        "--data.seed", "1",
        "--data.runs", str(tmp_path),
        "--data.images", '{"workers": 1}',
        "--model.backbone.name", NAME,
        "--model.backbone.weights", "random",
        "--model.backbone.image_size", str(SIZE),
        "--model.backbone.views.tiles", "0",
        "--model.finetune.adapter", "lora",
        "--model.finetune.rank", "2",
        "--model.finetune.alpha", "4",
        "--model.finetune.learning_rate", "0.01",
        "--model.compute.checkpoint_every", "2",
    ]  # fmt: skip

    def call(command: str, *more: str) -> TrainingCLI:
        monkeypatch.setattr(sys, "argv", ["train.py", command, *arguments, *more])
        return TrainingCLI()

    return call


@pytest.fixture
def library(sets: Splits, tmp_path: Path) -> Finetuned:
    """The same by the library."""
    tree = {
        "seed": 1,
        "runs": tmp_path,
        "data": {"workers": 1},
        "backbone": {
            "name": NAME,
            "weights": "random",
            "image_size": SIZE,
            "views": {"tiles": 0},
        },
        "finetune": {
            "batch_size": 5,
            "epochs": 2,
            "adapter": "lora",
            "rank": 2,
            "alpha": 4,
            "learning_rate": 0.01,
        },
    }
    settings = resolve(parse_settings(tree))
    return finetune(small_backbone(settings), sets.train, sets.select, settings, tmp_path / "c")


@pytest.mark.filterwarnings(ADVICE)
def test_it_trains_what_the_library_trains(door: Any, library: Finetuned, tmp_path: Path) -> None:
    done = door("fit", "--trainer.max_epochs", "2")
    assert done.model.history == library.history["select_nll"]
    found = Classifier.load(tmp_path / "lightning" / "classifier")
    assert found.content_hash == library.classifier.content_hash
    assert set(found.exposure.uses) == {"train", "select"}
    assert "max_epochs: 2" in (tmp_path / "lightning" / "config.yaml").read_text()
    for path in (tmp_path / "lightning").rglob("*.ckpt"):
        assert torch.load(path, weights_only=True)["global_step"] > 0


@pytest.mark.filterwarnings(ADVICE)
@pytest.mark.parametrize("step", [3, 4, 7])
def test_it_goes_on_from_a_checkpoint_as_if_nothing_had_happened(
    step: int, door: Any, library: Finetuned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = module.Supervised.training_step

    def training_step(self: Any, batch: Any, batch_idx: int) -> Any:
        if self.global_step == step:
            raise Killed
        return original(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(module.Supervised, "training_step", training_step)
        with pytest.raises(Killed):
            door("fit", "--trainer.max_epochs", "2")
    folder = tmp_path / "lightning"
    last = folder / "last.ckpt"
    if step == 4:  # Lightning's own, of the whole pass
        (last,) = (folder / "checkpoints").glob("*.ckpt")
    done = door("fit", "--trainer.max_epochs", "2", "--ckpt_path", str(last))
    assert done.model.history == library.history["select_nll"]
    found = Classifier.load(folder / "classifier")
    assert found.content_hash == library.classifier.content_hash


@pytest.mark.filterwarnings(ADVICE)
def test_validate_scores_the_probe_or_a_checkpoint(
    door: Any, library: Finetuned, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = library.history["select_nll"][0]
    scored = door("validate")
    assert float(scored.trainer.callback_metrics["select/nll"]) == pytest.approx(first)
    door("fit", "--trainer.max_epochs", "2")
    (path,) = (tmp_path / "lightning" / "checkpoints").glob("*.ckpt")
    scored = door("validate", "--trainer.max_epochs", "2", "--ckpt_path", str(path))
    last = library.history["select_nll"][-1]
    assert float(scored.trainer.callback_metrics["select/nll"]) == pytest.approx(last, abs=1e-6)
    capsys.readouterr()


@pytest.mark.filterwarnings(ADVICE)
def test_a_checkpoint_of_other_data_or_settings_is_refused(
    door: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has seen images of which the classifier's exposure would not know."""
    door("fit", "--trainer.max_epochs", "1")
    last = str(tmp_path / "lightning" / "last.ckpt")
    again = ("--trainer.default_root_dir", str(tmp_path / "again"), "--ckpt_path", last)
    with pytest.raises(TrainingError, match="belongs to other data, other settings"):
        door("fit", "--trainer.max_epochs", "1", "--data.seed", "2", *again)
    parts = [photo_rows(tmp_path, range(a, b)) for a, b in pairwise([100, 120, 132, 144, 156, 168])]
    monkeypatch.setattr(data_module, "cut", lambda *_: made.splits(parts))
    for command in ("fit", "validate"):
        with pytest.raises(TrainingError, match="belongs to other data, other settings"):
            door(command, "--trainer.max_epochs", "1", *again)
    assert not (tmp_path / "again" / "classifier").exists()


@pytest.mark.filterwarnings(ADVICE)
def test_patience_ends_training_as_in_the_library(
    door: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    dictate(monkeypatch, [0.1, 0.2, 0.3, 0.05])
    with caplog.at_level(logging.INFO, "roadwork"):
        done = door("fit", "--trainer.max_epochs", "9", "--model.finetune.patience", "2")
    assert done.model.history[1:] == [0.1, 0.2, 0.3]
    assert done.model.best_epoch == 1
    assert "stopped after pass 3: no lower selection loss in 2 passes" in caplog.text


@pytest.mark.filterwarnings(ADVICE)
def test_the_weights_that_schedule_free_trains_are_not_judged(door: Any, tmp_path: Path) -> None:
    wanted = ("--trainer.max_epochs", "1", "--model.finetune.optimizer.name", "schedule_free")
    fitted = door("fit", *wanted)
    with pytest.raises(ConfigError, match=r"last\.ckpt: .* schedule_free, .* from checkpoints/"):
        door("validate", *wanted, "--ckpt_path", str(tmp_path / "lightning" / "last.ckpt"))
    (path,) = (tmp_path / "lightning" / "checkpoints").glob("*.ckpt")
    scored = door("validate", *wanted, "--ckpt_path", str(path))
    found = float(scored.trainer.callback_metrics["select/nll"])
    assert found == pytest.approx(fitted.model.history[1], abs=1e-6)


@pytest.mark.parametrize(
    ("option", "value", "instead"),
    [
        ("accumulate_grad_batches", "2", "model.compute.accumulate"),
        ("limit_train_batches", "1", "data.images"),
        ("overfit_batches", "0.5", "data.images"),
        ("fast_dev_run", "true", "max_epochs 1"),
        ("limit_val_batches", "1", "whole selection set"),
        ("limit_val_batches", "0.5", "whole selection set"),
        ("num_sanity_val_steps", "1", "whole selection set"),
        ("num_sanity_val_steps", "null", "whole selection set"),
        ("check_val_every_n_epoch", "2", "whole selection set"),
        ("val_check_interval", "2", "whole selection set"),
        ("gradient_clip_algorithm", "value", "by norm"),
    ],
)
def test_options_that_go_against_the_settings_are_refused(
    option: str, value: str, instead: str, door: Any
) -> None:
    with pytest.raises(ConfigError, match=rf"--trainer\.{option} .*{instead}"):
        door("fit", f"--trainer.{option}", value)


def test_options_that_say_what_is_done_anyway_are_accepted() -> None:
    require_planned({})
    require_planned(
        {
            "limit_train_batches": 1.0,
            "limit_val_batches": None,
            "val_check_interval": 1.0,
            "accumulate_grad_batches": 1,
            "num_sanity_val_steps": 0,
            "gradient_clip_algorithm": "norm",
            "max_time": "00:01:00:00",
        }
    )


@pytest.mark.parametrize("more", [("processes", "2"), ("strategy", "fsdp")])
def test_our_own_processes_are_refused_before_any_work(more: tuple[str, str], door: Any) -> None:
    with pytest.raises(ConfigError, match=r"model\.compute: .*one process.*training_pipeline"):
        door("fit", f"--model.compute.{more[0]}", more[1])


def test_look_alikes_are_found_as_by_the_pipeline(
    sets: Splits, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With data.fusion.embedding_cosine ingest needs embeddings."""
    given: list[Any] = []
    monkeypatch.setattr(data_module, "ingest", lambda *arguments: given.append(arguments[2]))
    monkeypatch.setattr(data_module, "cut", lambda *_: sets)
    for images in ({}, {"fusion": {"embedding_cosine": 0.9}}):
        RoadworkData(runs=tmp_path, images={"workers": 1, **images}).setup()
    assert given == [None, embed_images]


def test_a_checkpoint_that_could_run_code_is_refused(door: Any, tmp_path: Path) -> None:
    path = tmp_path / "bad.ckpt"
    torch.save({"global_step": os.getcwd}, path)
    with pytest.raises(TrainingError, match="is refused"):
        door("fit", "--ckpt_path", str(path))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model.finetune.learning_rates", "1"], "learning_rates"),
        (["--model.finetune.loss.name", "hinge"], "gatekeeper"),
        (["--trainer.max_epochs", "many"], "many"),
        (["--model.finetune.epochs", "3"], "epochs"),
        (["--weights_only", "false"], "weights_only"),
    ],
    ids=["key", "choice", "type", "linked", "unsafe"],
)
def test_what_is_no_option_is_named(
    arguments: list[str], message: str, door: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        door("fit", *arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_a_checkpoint_that_is_not_there_is_said_before_any_work(door: Any) -> None:
    with pytest.raises(ConfigError, match=r"--ckpt_path nowhere\.ckpt: there is no such file"):
        door("fit", "--ckpt_path", "nowhere.ckpt")


def test_several_processes_are_refused(door: Any) -> None:
    with pytest.raises(ConfigError, match=r"one process.*compute\.processes"):
        door("fit", "--trainer.devices", "2", "--trainer.strategy", "ddp")


def test_an_unknown_key_of_the_data_is_ours_to_name() -> None:
    with pytest.raises(ConfigError, match=r"data\.sauces: there is no such key"):
        RoadworkData(images={"sauces": []})


def test_the_data_module_gives_the_pipelines_sets_without_a_model(
    sets: Splits, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(data_module, "ingest", lambda *_: None)
    monkeypatch.setattr(data_module, "cut", lambda *_: sets)
    data = RoadworkData(batch_size=4, runs=tmp_path, images={"workers": 1})
    data.setup("fit")
    rows = [row for batch in data.train_dataloader() for row in batch["rows"].tolist()]
    assert sorted(rows) == list(range(len(sets.train)))
    labels = torch.cat([batch["labels"] for batch in data.val_dataloader()])
    assert labels.tolist() == sets.select.labels.tolist()


def run(*arguments: str, runs: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "scripts/train.py", *arguments],
        cwd=ROOT,
        env={**os.environ, "ROADWORK_RUNS": str(runs), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=550,
    )


@pytest.mark.slow
def test_the_literal_command_trains(tmp_path: Path) -> None:
    few = '{"sources": [{"kind": "synthetic", "drives": 22, "max_frames": 4, "faults": false}]}'
    command = "fit --config configs/lightning.yaml --data.batch_size 8 --trainer.max_epochs 1"
    small = ["--data.images", few, "--model.backbone.views.tiles", "0"]
    done = run(*command.split(), *small, runs=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "has the lowest selection loss" in done.stderr
    assert "Warning" not in done.stderr
    Classifier.load(tmp_path / "lightning" / "classifier")


@pytest.mark.slow
def test_the_literal_command_names_what_is_wrong(tmp_path: Path) -> None:
    wrong = '{"sources": [{"kind": "image_folder", "root": "/nowhere/at/all", "csv": "a.csv"}]}'
    done = run("fit", "--data.images", wrong, runs=tmp_path)
    assert done.returncode == ConfigError.exit_code
    assert "Traceback" not in done.stderr
    assert done.stderr == "error: data.sources.root: there is no folder /nowhere/at/all\n"
