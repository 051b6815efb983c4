"""Fine-tuning: the same after any interruption; the best pass wins; the probe is pass 0."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from roadwork.data.splits import Splits
from roadwork.errors import TrainingError
from roadwork.models.attention import ATTENTION
from roadwork.models.classifier import RoadworkNetwork
from roadwork.models.inference import predict_logits
from roadwork.settings import Settings
from roadwork.training import finetune as finetuning
from roadwork.training import supervised as module
from roadwork.training.finetune import Finetuned, finetune
from roadwork.training.refinement import refinement_loss
from tests.training.made_photos import small_backbone, small_settings

STEPS = 12  # 3 passes of 4 batches


class Killed(BaseException):
    """Stands for the end of the process: nothing that cleans up may matter."""


def run(sets: Splits, checkpoints: Path, settings: Settings | None = None) -> Finetuned:
    settings = settings or small_settings()
    return finetune(small_backbone(settings), sets.train, sets.select, settings, checkpoints)


def stop_before(monkeypatch: pytest.MonkeyPatch, step: int, error: BaseException) -> None:
    """Let training end with an error in the place of a step."""
    original = module.Supervised.training_step

    def training_step(self: Any, batch: Any, batch_idx: int) -> Any:
        if self.global_step == step:
            raise error
        return original(self, batch, batch_idx)

    monkeypatch.setattr(module.Supervised, "training_step", training_step)


def dictate(monkeypatch: pytest.MonkeyPatch, losses: list[float]) -> list[dict[str, torch.Tensor]]:
    """Replace the selection losses of the passes; gives the head after every pass."""
    heads: list[dict[str, torch.Tensor]] = []
    original = module.Supervised._selection_loss

    def loss(self: Any) -> float:
        if not self.history:  # the start
            return original(self)
        heads.append({k: v.detach().clone() for k, v in self.network.head.state_dict().items()})
        return losses[self.current_epoch]

    monkeypatch.setattr(module.Supervised, "_selection_loss", loss)
    return heads


@pytest.fixture(scope="module")
def whole(sets: Splits, tmp_path_factory: pytest.TempPathFactory) -> Finetuned:
    return run(sets, tmp_path_factory.mktemp("whole"))


def test_training_learns_and_records_every_pass(whole: Finetuned, sets: Splits) -> None:
    losses = whole.history["select_nll"]
    best = whole.history["best_epoch"]
    assert len(losses) == 4
    assert losses.index(min(losses)) == best > 0
    assert whole.classifier.content_hash != whole.baseline.content_hash
    # The classifier is the pass that was chosen: its loss on the selection set is that one.
    logits = predict_logits(whole.classifier, sets.select, small_settings().data)
    found = refinement_loss(logits, sets.select.labels)
    assert found == pytest.approx(losses[best], abs=1e-5)
    assert whole.classifier.spec.adapter == "LoRA"
    assert set(whole.classifier.exposure.uses) == {"train", "select"}
    assert set(whole.baseline.exposure.uses) == {"train"}


def test_without_a_terminal_nothing_is_printed(
    sets: Splits, checkpoints: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Progress goes to the log; a bar would fill it with control characters."""
    run(sets, checkpoints, small_settings(finetune={"epochs": 1}))
    assert capsys.readouterr().out == ""


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(
    whole: Finetuned, sets: Splits, checkpoints: Path
) -> None:
    again = run(sets, checkpoints)
    assert again.classifier.content_hash == whole.classifier.content_hash
    assert again.history == whole.history
    assert not list(checkpoints.glob("*"))  # a finished run leaves no checkpoint
    other = run(sets, checkpoints, small_settings(seed=4))
    assert other.classifier.content_hash != whole.classifier.content_hash


@pytest.mark.parametrize("step", [1, 2, 3, 4, 7, 9, 11])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(
    step: int,
    whole: Finetuned,
    sets: Splits,
    checkpoints: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with monkeypatch.context() as patch:
        stop_before(patch, step, Killed())
        with pytest.raises(Killed):
            run(sets, checkpoints)
    with caplog.at_level(logging.INFO, "roadwork"):
        resumed = run(sets, checkpoints)
    # Saved after steps 1, 5, 9 (the first of a pass) and every second one that ends no pass.
    saved = max(s for s in (1, 2, 5, 6, 9, 10) if s <= step)
    assert f"going on from the checkpoint of step {saved}" in caplog.text
    assert resumed.history == whole.history
    assert resumed.classifier.content_hash == whole.classifier.content_hash


def test_a_run_may_be_killed_twice(
    whole: Finetuned, sets: Splits, checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in (6, 10):
        with monkeypatch.context() as patch:
            stop_before(patch, step, Killed())
            with pytest.raises(Killed):
                run(sets, checkpoints)
    assert run(sets, checkpoints).classifier.content_hash == whole.classifier.content_hash


def test_an_interrupt_says_that_the_same_command_goes_on(
    whole: Finetuned, sets: Splits, checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        stop_before(patch, 6, KeyboardInterrupt())
        with pytest.raises(TrainingError, match=r"interrupted at step 6; the same command goes on"):
            run(sets, checkpoints)
    assert signal.getsignal(signal.SIGINT) == before
    assert run(sets, checkpoints).classifier.content_hash == whole.classifier.content_hash


_SCRIPT = """
import os, signal, sys
from pathlib import Path
import pyarrow.parquet as pq
from roadwork.data.manifest import SelectSet, TrainSet
from roadwork.models.backbone import BACKBONES
from roadwork.training import recorder
from roadwork.training import supervised as module
from roadwork.training.finetune import finetune
from tests.training.made_photos import INFO, NAME, small_backbone, small_settings

BACKBONES[NAME] = INFO
recorder._clock = lambda: 0.0
folder = Path(sys.argv[1])
original = module.Supervised.training_step

def training_step(self, batch, batch_idx):
    if self.global_step == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(self, batch, batch_idx)

module.Supervised.training_step = training_step
settings = small_settings()
train = TrainSet(pq.read_table(folder / "train.parquet"))
select = SelectSet(pq.read_table(folder / "select.parquet"))
finetune(small_backbone(settings), train, select, settings, folder / "checkpoints")
"""


@pytest.mark.slow
def test_a_process_killed_by_the_system_goes_on_in_another(
    whole: Finetuned, sets: Splits, tmp_path: Path
) -> None:
    import pyarrow.parquet as pq

    pq.write_table(sets.train.table, tmp_path / "train.parquet")
    pq.write_table(sets.select.table, tmp_path / "select.parquet")
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert list((tmp_path / "checkpoints").glob("*/last.ckpt"))
    resumed = run(sets, tmp_path / "checkpoints")
    assert resumed.history == whole.history
    assert resumed.classifier.content_hash == whole.classifier.content_hash


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b"no checkpoint"),
        lambda path: torch.save({"global_step": os.getcwd}, path),
        lambda path: torch.save({"weights": torch.zeros(2)}, path),
    ],
    ids=["damaged", "object", "other"],
)
def test_a_bad_checkpoint_stops_training(
    damage: Callable[[Path], Any],
    sets: Splits,
    checkpoints: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        stop_before(patch, 3, Killed())
        with pytest.raises(Killed):
            run(sets, checkpoints)
    (path,) = checkpoints.glob("finetune-*/last.ckpt")
    damage(path)
    with pytest.raises(TrainingError, match="is refused"):
        run(sets, checkpoints)


def test_other_inputs_do_not_go_on_from_this_checkpoint(
    sets: Splits, checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = [{"workers": 1, "shards": {"to": "there", "window": window}} for window in (1, 5)]
    variants = [
        {},
        {"seed": 4},
        {"finetune": {"learning_rate": 0.02}},
        *({"data": data} for data in shards),  # another order of the rows
    ]
    with monkeypatch.context() as patch:
        stop_before(patch, 3, Killed())
        for changes in variants:
            with pytest.raises(Killed):
                run(sets, checkpoints, small_settings(**changes))
    assert len(list(checkpoints.glob("finetune-*"))) == len(variants)


def test_another_runs_checkpoint_is_refused(
    sets: Splits, checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_before(patch, 3, Killed())
        for changes in ({}, {"seed": 4}):
            with pytest.raises(Killed):
                run(sets, checkpoints, small_settings(**changes))
    own, other = sorted(checkpoints.glob("finetune-*/last.ckpt"), key=lambda p: p.stat().st_mtime)
    shutil.copy(other, own)
    with pytest.raises(TrainingError, match="belongs to other data, other settings"):
        run(sets, checkpoints)


@pytest.mark.parametrize("mined", [0.0, 0.5])
@pytest.mark.parametrize("step", [1, 3])
def test_passes_of_one_batch_are_kept_too(
    step: int,
    mined: float,
    sets: Splits,
    checkpoints: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = small_settings(
        finetune={
            "batch_size": 20,
            "epochs": 5,
            "ema": 0.9,
            "patience": 2,
            "sampling": {"hard_negatives": mined},
        }
    )
    dictate(monkeypatch, [0.1, 0.05, 0.2, 0.3, 0.01])  # patience counts on: four passes
    whole = run(sets, checkpoints, settings)
    with monkeypatch.context() as patch:
        stop_before(patch, step, Killed())
        with pytest.raises(Killed):
            run(sets, checkpoints, settings)
    with caplog.at_level(logging.INFO, "roadwork"):
        resumed = run(sets, checkpoints, settings)
    assert f"going on from the checkpoint of step {step}" in caplog.text
    assert whole.history["select_nll"][1:] == [0.1, 0.05, 0.2, 0.3]
    assert resumed.history == whole.history
    assert resumed.classifier.content_hash == whole.classifier.content_hash


def test_every_pass_is_judged_in_32_bits_beside_bf16(
    sets: Splits, checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Passes compare with the start, and with what the classifier answers afterwards."""
    seen: list[tuple[bool, bool]] = []
    forward = RoadworkNetwork.forward

    def watched(self: Any, views: torch.Tensor) -> torch.Tensor:
        seen.append((torch.is_autocast_enabled("cpu"), torch.backends.cuda.math_sdp_enabled()))
        return forward(self, views)

    @contextlib.contextmanager
    def one_kernel(*_: Any) -> Iterator[dict[str, object]]:
        with ATTENTION["fa2"].scope():
            yield {}

    monkeypatch.setattr(RoadworkNetwork, "forward", watched)
    monkeypatch.setattr(finetuning, "execution", one_kernel)
    settings = small_settings(finetune={"epochs": 2}, compute={"precision": "bf16"})
    found = run(sets, checkpoints, settings)
    assert seen == [(False, True)] * 3
    best = found.history["best_epoch"]
    assert best > 0
    logits = predict_logits(found.classifier, sets.select, settings.data)
    loss = refinement_loss(logits, sets.select.labels)
    assert loss == pytest.approx(found.history["select_nll"][best], abs=1e-6)


def test_equal_losses_are_told_apart_by_the_plain_ones(
    sets: Splits, checkpoints: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """The selection set is separated so widely in all passes that its loss is zero."""
    margins = iter([1000.0, 20.0, 30.0, 10.0])  # the start, and three passes
    labels = torch.from_numpy(sets.select.labels)
    original = RoadworkNetwork.forward

    def forward(self: Any, views: torch.Tensor) -> torch.Tensor:
        logits = original(self, views)
        margin = next(margins)
        sign = 2.0 * labels - 1
        sign = sign if margin < 1000 else -sign
        return 0 * logits + margin * torch.stack([-sign, sign], dim=1)

    monkeypatch.setattr(RoadworkNetwork, "forward", forward)
    with caplog.at_level(logging.INFO, "roadwork"):
        found = run(sets, checkpoints)
    assert found.history["select_nll"][1:] == [0.0, 0.0, 0.0]
    assert found.history["best_epoch"] == 2
    assert caplog.text.count("VAL_SELECT is separated: pass 1 answers all 12 selection") == 1


def test_an_absurd_rate_leaves_the_probe(sets: Splits, checkpoints: Path) -> None:
    settings = small_settings(finetune={"learning_rate": 10.0})
    found = run(sets, checkpoints, settings)
    losses = found.history["select_nll"]
    assert found.history["best_epoch"] == 0
    assert len(losses) == 4
    assert 2 * losses[0] < min(losses[1:])
    expected = predict_logits(found.baseline, sets.select, settings.data)
    assert (predict_logits(found.classifier, sets.select, settings.data) == expected).all()


def test_a_run_of_all_its_passes_was_not_stopped(
    sets: Splits, checkpoints: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    dictate(monkeypatch, [0.1, 0.2, 0.3])
    with caplog.at_level(logging.INFO, "roadwork"):
        run(sets, checkpoints, small_settings(finetune={"epochs": 3, "patience": 2}))
    assert "stopped after" not in caplog.text


def test_early_stopping_keeps_the_best_pass(
    sets: Splits, checkpoints: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """Selection losses are dictated: better once, then worse until patience ends."""
    heads = dictate(monkeypatch, [0.1, 0.2, 0.3, 0.05])
    settings = small_settings(finetune={"epochs": 9, "patience": 2})
    with caplog.at_level(logging.INFO, "roadwork"):
        found = run(sets, checkpoints, settings)
    assert "stopped after pass 3: no lower selection loss in 2 passes" in caplog.text
    assert found.history["select_nll"][1:] == pytest.approx([0.1, 0.2, 0.3])
    assert found.history["best_epoch"] == 1
    head = found.classifier.network.head.state_dict()
    assert all(torch.equal(head[key], heads[0][key]) for key in head)
    assert any(not torch.equal(head[key], heads[2][key]) for key in head)


def test_patience_is_counted_on_after_an_interruption(
    sets: Splits, checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads = dictate(monkeypatch, [0.1, 0.2, 0.3, 0.05])
    settings = small_settings(finetune={"epochs": 9, "patience": 2})
    with monkeypatch.context() as patch:
        stop_before(patch, 10, Killed())  # in the third pass, after one that was worse
        with pytest.raises(Killed):
            run(sets, checkpoints, settings)
    found = run(sets, checkpoints, settings)
    assert found.history["select_nll"][1:] == pytest.approx([0.1, 0.2, 0.3])
    assert found.history["best_epoch"] == 1
    head = found.classifier.network.head.state_dict()
    assert all(torch.equal(head[key], heads[0][key]) for key in head)


@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_batch_statistics_of_a_convolutional_network_stay(
    adapter: str, sets: Splits, checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dictate(monkeypatch, [0.0])
    settings = small_settings(
        backbone={"name": "tf_efficientnet_lite0", "weights": "package"},
        finetune={"epochs": 1, "adapter": adapter, "learning_rate": 1e-3},
    )
    found = run(sets, checkpoints, settings)
    before = found.baseline.network.state_dict()
    after = found.classifier.network.state_dict()
    assert found.history["best_epoch"] == 1
    running = [key for key in before if "running_" in key or "num_batches" in key]
    assert len(running) == 3 * 49
    assert all(torch.equal(before[key], after[key]) for key in running)
    assert not torch.equal(before["backbone.conv_head.weight"], after["backbone.conv_head.weight"])


def test_a_frozen_backbone_stays(
    sets: Splits, checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dictate(monkeypatch, [0.3, 0.2, 0.1])
    found = run(sets, checkpoints, small_settings(finetune={"adapter": "none"}))
    before, after = found.baseline.network.state_dict(), found.classifier.network.state_dict()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed == {"head.weight", "head.bias"}


def test_no_pass_at_all_is_the_probe(sets: Splits, checkpoints: Path) -> None:
    settings = small_settings(finetune={"epochs": 0})
    found = run(sets, checkpoints, settings)
    expected = predict_logits(found.baseline, sets.select, settings.data)
    assert (predict_logits(found.classifier, sets.select, settings.data) == expected).all()
    # It was not chosen on the selection set, but says so: the claim is the larger one.
    assert set(found.classifier.exposure.uses) == {"train", "select"}
