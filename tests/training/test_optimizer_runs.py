"""Fine-tuning with every optimizer: it learns, two passes where due, and resumes exactly."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_optimizer import AdEMAMix
from torch import nn

from roadwork.data.splits import Splits
from roadwork.settings import OptimizerSettings
from roadwork.training import supervised as module
from roadwork.training.finetune import Finetuned, finetune
from roadwork.training.objectives import LABEL_LOSSES
from roadwork.training.optimizers import OPTIMIZERS
from roadwork.training.refinement import refinement_loss
from roadwork.training.schedules import SCHEDULES
from tests.training.made_photos import small_backbone, small_settings

FIGURES = ("loss", "grad_norm", "learning_rate")
NAMES = pytest.mark.parametrize("name", OPTIMIZERS)


class Killed(BaseException):
    """Stands for the end of the process."""


def run(sets: Splits, checkpoints: Path, name: str, **changes: Any) -> Finetuned:
    settings = small_settings(finetune={"optimizer": {"name": name}, **changes})
    return finetune(small_backbone(settings), sets.train, sets.select, settings, checkpoints)


# Every optimizer, every schedule, and whatever else has a state, in as few runs as that takes.
RUNS = [
    ("adamw", {}, {}),
    ("adamw", {"schedule": "constant", "ema": 0.9}, {}),
    ("schedule_free", {"layer_decay": 0.7}, {"accumulate": 2}),
    ("sam", {"schedule": "linear", "layer_decay": 0.7, "ema": 0.9}, {"accumulate": 3}),
    ("ademamix", {"schedule": "warmup_stable_decay", "layer_decay": 0.7}, {}),
    ("sophia", {"schedule": "linear", "ema": 0.5}, {"accumulate": 2}),
]


def test_every_optimizer_and_schedule_is_among_the_runs() -> None:
    assert {name for name, _, _ in RUNS} == set(OPTIMIZERS)
    assert {"cosine", *(wanted.get("schedule", "cosine") for _, wanted, _ in RUNS)} == set(
        SCHEDULES
    )


@pytest.mark.parametrize(("name", "changes", "compute"), RUNS)
def test_a_run_killed_within_a_pass_goes_on_as_if_nothing_had_happened(
    name: str,
    changes: dict[str, Any],
    compute: dict[str, Any],
    sets: Splits,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run(sets: Splits, checkpoints: Path, name: str) -> Finetuned:
        settings = small_settings(
            finetune={"optimizer": {"name": name}, **changes}, compute=compute
        )
        return finetune(small_backbone(settings), sets.train, sets.select, settings, checkpoints)

    whole = run(sets, tmp_path / "whole", name)
    original = module.Supervised.training_step

    def training_step(self: Any, batch: Any, batch_idx: int) -> Any:
        if self.global_step == 7:  # passes have 4 steps, checkpoints come every 2
            raise Killed
        return original(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(module.Supervised, "training_step", training_step)
        with pytest.raises(Killed):
            run(sets, tmp_path / "killed", name)
    resumed = run(sets, tmp_path / "killed", name)
    assert resumed.history == whole.history  # with the curves of loss, norm and rate by step
    names = whole.history["curves"]["name"]
    assert [names.count(f"train/{figure}") for figure in FIGURES] == [12] * 3
    assert resumed.classifier.content_hash == whole.classifier.content_hash
    assert whole.history["select_nll"][1:] != [whole.history["select_nll"][0]] * 3


def test_every_optimizer_goes_another_way(sets: Splits, tmp_path: Path) -> None:
    losses = {
        name: run(sets, tmp_path, name, epochs=1).history["select_nll"][1] for name in OPTIMIZERS
    }
    assert len(set(losses.values())) == len(OPTIMIZERS), losses


@pytest.mark.parametrize(("name", "passes"), [("adamw", 4), ("sam", 8), ("sophia", 4)])
def test_batches_are_computed_as_often_as_due(
    name: str, passes: int, sets: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four steps a pass; Sophia's curvature is measured beside them, at step 0."""
    steps, curvatures, ends = [], [], []
    original, curvature = module.Supervised.training_step, module.Supervised.curvature_loss

    def training_step(self: Any, batch: Any, batch_idx: int) -> Any:
        steps.append(float(batch["views"].float().sum()))
        ends.append(self.global_step)
        return original(self, batch, batch_idx)

    def curvature_loss(self: Any) -> Any:
        curvatures.append(self.global_step)
        return curvature(self)

    monkeypatch.setattr(module.Supervised, "training_step", training_step)
    monkeypatch.setattr(module.Supervised, "curvature_loss", curvature_loss)
    run(sets, tmp_path, name, epochs=1)
    assert len(steps) == passes
    assert max(ends) == 3  # the count of steps is that of the batches
    assert curvatures == ([0] if name == "sophia" else [])
    if name == "sam":
        assert steps[::2] == steps[1::2], "both passes see the same batch"


def test_the_step_of_sam_is_the_one_by_hand(
    sets: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gradient that AdamW gets is that at the worst neighbour, at the weights of before."""
    seen: list[tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]] = []
    original = torch.optim.AdamW.step

    def step(self: Any, closure: Any = None) -> Any:
        def watched() -> Any:
            before = state()
            loss = closure()
            gradients = {n: p.grad.clone() for n, p in named() if p.grad is not None}
            assert all(torch.equal(before[n], p) for n, p in named()), "descend came back"
            seen.append((before, gradients))
            return loss

        return original(self, watched)

    holder: dict[str, Any] = {}
    init = module.Supervised.__init__

    def remember(self: Any, *arguments: Any, **named: Any) -> None:
        init(self, *arguments, **named)
        holder["module"] = self

    def named() -> list[tuple[str, nn.Parameter]]:
        return [(n, p) for n, p in holder["module"].named_parameters() if p.requires_grad]

    def state() -> dict[str, torch.Tensor]:
        return holder["start"]

    first = module.Supervised.training_step

    def training_step(self: Any, batch: Any, batch_idx: int) -> Any:
        if self._passes == 0:
            holder["start"] = {n: p.detach().clone() for n, p in named()}
        else:
            moved = [p.detach() - holder["start"][n] for n, p in named()]
            length = math.sqrt(sum(float(d.square().sum()) for d in moved))
            holder.setdefault("lengths", []).append(length)
        return first(self, batch, batch_idx)

    monkeypatch.setattr(module.Supervised, "__init__", remember)
    monkeypatch.setattr(module.Supervised, "training_step", training_step)
    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    run(sets, tmp_path, "sam", epochs=1)
    assert len(seen) == 4
    assert holder["lengths"] == pytest.approx([0.05] * 4, rel=1e-3)


def test_what_schedule_free_saves_is_what_was_judged(sets: Splits, tmp_path: Path) -> None:
    done = run(sets, tmp_path, "schedule_free", learning_rate=0.05)
    from roadwork.models.inference import predict_logits

    best = done.history["best_epoch"]
    logits = torch.from_numpy(predict_logits(done.classifier, sets.select, small_settings().data))
    labels = torch.from_numpy(sets.select.labels)
    loss = refinement_loss(logits.numpy(), labels.numpy())
    assert loss == pytest.approx(done.history["select_nll"][best], abs=1e-5)


def test_every_loss_goes_another_way(sets: Splits, tmp_path: Path) -> None:
    losses = {
        name: run(sets, tmp_path, "adamw", epochs=1, loss={"name": name}).history["select_nll"][1]
        for name in LABEL_LOSSES
    }
    assert len(set(losses.values())) == len(LABEL_LOSSES) == 3, losses


def test_ademamix_by_hand() -> None:
    """Step 1 of 10: alpha_1 = 5 / 10; m = 0.1 g, corrected g; slow = (1 - beta3_1) g."""
    w = nn.Parameter(torch.tensor([2.0]))
    wanted = OptimizerSettings(name="ademamix")
    optimizer = OPTIMIZERS["ademamix"].build(
        [{"params": [w], "lr": 0.01, "weight_decay": 0.1}], 10, wanted
    )
    assert isinstance(optimizer, AdEMAMix)
    w.grad = torch.tensor([0.5])
    optimizer.step()
    start, end = math.log(0.9), math.log(0.999)
    beta3 = min(math.exp(start * end / (0.9 * end + 0.1 * start)), 0.999)
    update = (0.5 + 0.5 * (1 - beta3) * 0.5) / (0.5 + 1e-8)
    assert w.item() == pytest.approx(2.0 * (1 - 0.01 * 0.1) - 0.01 * update, rel=1e-5)


@NAMES
def test_every_optimizer_nears_the_bottom_of_a_bowl(name: str) -> None:
    """Not closer than a third: AdEMAMix swings for long at a rate that stays."""
    w = nn.Parameter(torch.tensor([1.0, -1.0]))
    info = OPTIMIZERS[name]
    groups = [{"params": [w], "lr": 0.05, "weight_decay": 0.0}]
    optimizer = info.build(groups, 200, OptimizerSettings())
    if hasattr(optimizer, "train"):
        optimizer.train()  # pyright: ignore[reportAttributeAccessIssue]
    scale = torch.tensor([1.0, 10.0])
    for _ in range(200):
        optimizer.zero_grad()
        (scale * w.square()).sum().backward()
        if name == "sophia":
            optimizer.update_curvature(1)  # pyright: ignore[reportAttributeAccessIssue]
        optimizer.step()
    if hasattr(optimizer, "eval"):
        optimizer.eval()  # pyright: ignore[reportAttributeAccessIssue]
    assert float(w.detach().abs().max()) < 1 / 3
