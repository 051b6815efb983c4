"""Training that goes wrong stops with the reason, before the weights are spoiled."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from roadwork.data.manifest import SelectSet, TrainSet
from roadwork.data.splits import Splits
from roadwork.errors import DataError, TrainingError
from roadwork.models.adapters import trainable_state
from roadwork.training import assembly
from roadwork.training import finetune as finetuning
from roadwork.training import supervised as module
from roadwork.training.checkpoint import load_checkpoint
from roadwork.training.finetune import Finetuned, finetune
from roadwork.training.objectives import LABEL_LOSSES, OBJECTIVES
from roadwork.training.objectives.empirical import EmpiricalRisk
from roadwork.training.optimizers import OPTIMIZERS
from tests.data import made
from tests.training.made_photos import photo_rows, small_backbone, small_settings
from tests.training.test_objectives import build, step

Change = Callable[[Tensor], Tensor]
FIFTH = 5 / 12  # progress at the sixth of twelve steps


def run(sets: Splits, checkpoints: Path, **changes: Any) -> Finetuned:
    settings = small_settings(**changes)
    return finetune(small_backbone(settings), sets.train, sets.select, settings, checkpoints)


def spoil(monkeypatch: pytest.MonkeyPatch, change: Change, progress: float = FIFTH) -> None:
    """Change the loss of one step."""
    original = EmpiricalRisk.forward

    def forward(self: Any, step: Any) -> Tensor:
        loss = original(self, step)
        return change(loss) if step.progress == progress else loss

    monkeypatch.setattr(EmpiricalRisk, "forward", forward)


def bad_gradient(value: float) -> Change:
    """The loss stays; its gradient is multiplied by ``value``."""

    def change(loss: Tensor) -> Tensor:
        loss = loss.clone()
        loss.register_hook(lambda gradient: gradient * value)
        return loss

    return change


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_is_told_with_place_and_remedy(
    value: float, sets: Splits, checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, lambda loss: loss * value)
    with pytest.raises(TrainingError) as caught:
        run(sets, checkpoints)
    (path,) = checkpoints.glob("finetune-*/last.ckpt")
    rate = 0.01 * (0.02 + 0.49 * (1 + np.cos(np.pi * 4 / 11)))
    assert str(caught.value) == (
        f"training stopped in pass 2 of 3, step 6 of 12, at a learning rate of {rate:g}: the loss "
        f"is {value}. The step was not taken, and the last good checkpoint is {path}. Lower "
        "finetune.learning_rate; training then starts anew."
    )
    assert load_checkpoint(path)["global_step"] == 5


def test_the_first_step_has_no_checkpoint_and_bf16_is_a_suspect(
    sets: Splits, checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, lambda loss: loss * float("nan"), progress=0.0)
    with pytest.raises(TrainingError, match="no checkpoint was written yet") as caught:
        run(sets, checkpoints, compute={"precision": "bf16"})
    assert str(caught.value).endswith(
        "no checkpoint was written yet. Lower finetune.learning_rate, or set compute.precision: "
        "32; training then starts anew."
    )


def test_with_precision_32_it_goes_on_and_with_another_rate_it_starts_anew(
    sets: Splits, checkpoints: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    with monkeypatch.context() as patch:
        spoil(patch, lambda loss: loss * float("nan"))
        with pytest.raises(TrainingError) as caught:
            run(sets, checkpoints, compute={"precision": "bf16", "checkpoint_every": 2})
    assert str(caught.value).endswith(
        ". Lower finetune.learning_rate, or set compute.precision: 32; with precision 32 it goes "
        "on from there, with another rate it starts anew."
    )
    for changes, goes_on in (
        ({"finetune": {"learning_rate": 0.005}}, False),
        ({"compute": {"precision": "32"}}, True),
    ):
        caplog.clear()
        with caplog.at_level(logging.INFO, "roadwork"):
            run(sets, checkpoints, **changes)
        assert ("going on from the checkpoint of step 5" in caplog.text) == goes_on


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_gradients_that_are_no_numbers_do_not_reach_the_weights(
    name: str, value: float, sets: Splits, checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, bad_gradient(value))
    held: list[tuple[Any, dict[str, Tensor]]] = []
    original = module.Supervised.optimizer_step

    def optimizer_step(self: Any, *arguments: Any) -> None:
        held[:] = [(self, trainable_state(self))]
        original(self, *arguments)

    monkeypatch.setattr(module.Supervised, "optimizer_step", optimizer_step)
    message = r"the loss is 0\.\d+, but the norm of its gradients is (nan|inf)"
    if name == "sam":
        message = "the loss is nan"  # at the neighbour, where such gradients lead
    with pytest.raises(TrainingError, match=f"step 6 of 12.*{message}"):
        run(sets, checkpoints, finetune={"optimizer": {"name": name}})
    trained, before = held[0]
    after = trainable_state(trained)
    assert all(torch.equal(after[key], before[key]) for key in before)
    (path,) = checkpoints.glob("finetune-*/last.ckpt")
    weights = load_checkpoint(path)["state_dict"]
    assert all(torch.isfinite(w).all() for w in weights.values())


def test_sophias_curvature_is_not_spoiled_either(
    sets: Splits, checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = module.Supervised.curvature_loss

    def curvature_loss(self: Any) -> tuple[Tensor, int]:
        loss, rows = original(self)
        return bad_gradient(float("inf"))(loss), rows

    monkeypatch.setattr(module.Supervised, "curvature_loss", curvature_loss)
    with pytest.raises(TrainingError, match=r"step 1 of 12.*the norm of its gradients is"):
        run(sets, checkpoints, finetune={"optimizer": {"name": "sophia"}})


def test_exploding_gradients_are_clipped_and_told_once(
    sets: Splits, checkpoints: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    for progress in (FIFTH, 6 / 12):
        spoil(monkeypatch, bad_gradient(1e6), progress)
    with caplog.at_level(logging.WARNING, "roadwork"):
        found = run(sets, checkpoints)
    warnings = [r.getMessage() for r in caplog.records if "gradients' norm" in r.getMessage()]
    assert len(warnings) == 1
    assert "in pass 2 of 3, step 6 of 12" in warnings[0]
    assert "it was clipped to 1. If it stays so, lower finetune.learning_rate" in warnings[0]
    curves = curve(found, "train/grad_norm")
    assert f"norm is {curves[5]:.3g} " in warnings[0]
    assert min(curves[5:7]) > 1e3 > max(curves[:5] + curves[7:])
    assert np.isfinite(found.history["select_nll"]).all()


def curve(found: Finetuned, name: str) -> list[float]:
    columns = found.history["curves"]
    return [v for n, v in zip(columns["name"], columns["value"], strict=True) if n == name]


def test_every_step_leaves_its_figures(
    sets: Splits, checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The norm before clipping, by hand; the rate of the step; the loss of the first pass (SAM)."""
    norms, losses = [], []
    clip, training = torch.nn.utils.clip_grad_norm_, module.Supervised.training_step

    def clip_grad_norm_(parameters: Any, limit: float) -> Tensor:
        parameters = list(parameters)
        squares = [float(p.grad.square().sum()) for p in parameters if p.grad is not None]
        norms.append(float(np.sqrt(sum(squares))))
        total = clip(parameters, limit)
        after = [float(p.grad.square().sum()) for p in parameters if p.grad is not None]
        assert np.sqrt(sum(after)) <= 1 + 1e-5
        return total

    def training_step(self: Any, batch: Any, batch_idx: int) -> Tensor:
        loss = training(self, batch, batch_idx)
        if self._passes == 1:
            losses.append(loss.item())
        return loss

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", clip_grad_norm_)
    monkeypatch.setattr(module.Supervised, "training_step", training_step)
    found = run(sets, checkpoints, finetune={"optimizer": {"name": "sam"}, "schedule": "linear"})
    assert curve(found, "train/grad_norm") == pytest.approx(norms, rel=1e-5)
    assert curve(found, "train/loss") == pytest.approx(losses)
    rates = [0.005, *(0.01 * (1 - 0.98 * done / 11) for done in range(11))]
    assert curve(found, "train/learning_rate") == pytest.approx(rates)


@pytest.mark.parametrize("scale", [1.0, 30.0, 1e4])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("loss", LABEL_LOSSES)
def test_losses_of_one_class_are_numbers(loss: str, gamma: float, scale: float) -> None:
    """All rows right, all wrong, and the surest answers that a network can give."""
    settings = small_settings(finetune={"loss": {"name": loss, "gamma": gamma}}).finetune.loss
    for label in (0, 1):
        logits = (torch.tensor([[1.0, -1.0], [-1.0, 1.0], [0.0, 0.0]]) * scale).requires_grad_()
        losses = LABEL_LOSSES[loss].build(settings)(logits, torch.full((3,), label))
        losses.sum().backward()
        assert logits.grad is not None
        assert torch.isfinite(losses).all()
        assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("method", OBJECTIVES)
def test_objectives_of_one_class_and_one_source_are_numbers(method: str) -> None:
    objective = build(method)
    batch = step([0, 0, 0], [1, 1, 1], [0.5, 1.0, 0.1])
    objective(batch).backward()
    assert batch.losses.grad is not None
    assert torch.isfinite(batch.losses.grad).all()
    assert all(torch.isfinite(p.grad).all() for p in objective.parameters() if p.grad is not None)
    assert all(np.isfinite(value) for value in objective.report().values())


@pytest.fixture(scope="module")
def two_sources(tmp_path_factory: pytest.TempPathFactory) -> Splits:
    folder = tmp_path_factory.mktemp("two")
    parts = [photo_rows(folder, range(a, b)) for a, b in pairwise([0, 20, 32, 44, 56, 68])]
    for part in parts:
        for number, row in enumerate(part):
            row["source"] = "natix" if number // 4 % 2 else "mapillary"
    return made.splits(parts)


@pytest.mark.parametrize(
    ("method", "loss"), list(zip(OBJECTIVES, [*LABEL_LOSSES, "cross_entropy"], strict=True))
)
def test_batches_of_one_class_train(
    method: str,
    loss: str,
    two_sources: Splits,
    checkpoints: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ten rows of one class, then ten of the other, in batches of five; and hard negatives."""
    rows = np.argsort(two_sources.train.labels, kind="stable")
    kinds: list[int] = []
    original = module.Supervised.training_step

    def training_step(self: Any, batch: Any, batch_idx: int) -> Tensor:
        kinds.append(len(batch["labels"].unique()))
        return original(self, batch, batch_idx)

    monkeypatch.setattr(module.Supervised, "training_step", training_step)
    monkeypatch.setattr(assembly, "plain_order", lambda *_: lambda epoch: rows)
    monkeypatch.setattr(assembly, "Balanced", lambda *_: lambda epoch: rows)
    found = run(
        two_sources,
        checkpoints,
        finetune={
            "epochs": 2,
            "domain": {"method": method},
            "loss": {"name": loss},
            "sampling": {"hard_negatives": 0.5},
        },
    )
    assert kinds == [1] * 8
    assert np.isfinite(found.history["select_nll"]).all()
    assert np.isfinite(found.history["curves"]["value"]).all()
    assert all(torch.isfinite(w).all() for w in found.classifier.network.state_dict().values())


def test_sets_of_one_class_are_refused_before_any_work(
    sets: Splits, checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_work(*_: Any, **__: Any) -> Any:
        raise AssertionError("work was done")

    monkeypatch.setattr(finetuning, "fit_probe", no_work)
    settings = small_settings()
    train = TrainSet(sets.train.table.filter(sets.train.labels == 1))
    select = SelectSet(sets.select.table.filter(sets.select.labels == 0))
    with pytest.raises(DataError, match="all 10 training images have the label roadwork"):
        finetune(small_backbone(settings), train, sets.select, settings, checkpoints)
    with pytest.raises(DataError, match=r"all 6 selection images have the label none: .*Add"):
        finetune(small_backbone(settings), sets.train, select, settings, checkpoints)


def test_a_disk_that_fills_up_leaves_a_checkpoint_to_go_on_from(
    sets: Splits, checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(sets, checkpoints)
    writes: list[int] = []

    def fsync(descriptor: int) -> None:
        writes.append(descriptor)
        if len(writes) == 4:  # after the steps 1, 2, 5 and 6
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(
            TrainingError,
            match=r"last\.ckpt: the disk is full: make room; then the same command goes on from",
        ):
            run(sets, checkpoints)
    (path,) = checkpoints.glob("finetune-*/*")
    assert load_checkpoint(path)["global_step"] == 5
    found = run(sets, checkpoints)
    assert found.history == whole.history
    assert found.classifier.content_hash == whole.classifier.content_hash
