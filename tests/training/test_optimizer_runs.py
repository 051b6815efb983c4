"""Fine-tuning with every optimizer: it learns, two passes where due, and resumes exactly."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from pytorch_optimizer import AdEMAMix
from torch import nn

from roadwork.data.manifest import TrainSet
from roadwork.data.splits import Splits
from roadwork.settings import OptimizerSettings
from roadwork.training import supervised as module
from roadwork.training.finetune import Finetuned, finetune
from roadwork.training.mining import HardNegatives
from roadwork.training.objectives import LABEL_LOSSES
from roadwork.training.objectives.group_dro import GroupDro
from roadwork.training.optimizers import OPTIMIZERS
from roadwork.training.optimizers.sophia import SophiaG
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
    """AdamW stands at the start, with the clipped gradient of start + rho g / ||g||."""
    found: list[torch.Tensor] = []
    expected: list[torch.Tensor] = []
    current: dict[str, Any] = {}
    begin, original = module.Supervised.on_train_batch_start, torch.optim.AdamW.step

    def on_train_batch_start(self: Any, batch: Any, batch_idx: int) -> None:
        begin(self, batch, batch_idx)
        weights = [p for p in self.parameters() if p.requires_grad]
        current.update(weights=weights, start=[p.detach().clone() for p in weights])

        def gradient() -> list[torch.Tensor]:
            logits = self.network.head(self._features(batch))
            loss = nn.functional.cross_entropy(logits, batch["labels"])
            return list(torch.autograd.grad(loss, weights))

        at_start = gradient()
        norm = torch.cat([g.flatten() for g in at_start]).norm()
        with torch.no_grad():
            for weight, slope in zip(weights, at_start, strict=True):
                weight.add_(0.05 * slope / norm)
        there = torch.cat([g.flatten() for g in gradient()])
        with torch.no_grad():
            for weight, value in zip(weights, current["start"], strict=True):
                weight.copy_(value)
        expected.append(there / max(1.0, float(there.norm())))
        assert (there - torch.cat([g.flatten() for g in at_start])).norm() > 0.01 * there.norm()

    def step(self: Any, closure: Any = None) -> Any:
        def watched() -> Any:
            loss = closure()
            pairs = list(zip(current["weights"], current["start"], strict=True))
            assert all(torch.equal(weight, start) for weight, start in pairs), "descend came back"
            found.append(torch.cat([weight.grad.flatten() for weight, _ in pairs]))
            return loss

        return original(self, watched)

    monkeypatch.setattr(module.Supervised, "on_train_batch_start", on_train_batch_start)
    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    run(sets, tmp_path, "sam", epochs=1)
    assert len(found) == 4
    for gradient, by_hand in zip(found, expected, strict=True):
        torch.testing.assert_close(gradient, by_hand, atol=1e-5, rtol=1e-3)


def test_the_second_pass_of_sam_moves_no_group_weights_and_no_miner(
    sets: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Group DRO and hard negatives learn from the losses at the weights, not at the neighbour."""
    table = sets.train.table
    place = table.schema.get_field_index("source")
    field = table.schema.field(place)
    names = pa.array(["a" if row // 4 % 2 else "b" for row in range(len(table))]).cast(field.type)
    train = TrainSet(table.set_column(place, field, names))
    moved: list[bool] = []
    told: list[int] = []
    original, observe = GroupDro.forward, HardNegatives.observe

    def forward(self: Any, step: Any) -> torch.Tensor:
        before = self.weights.clone()
        loss = original(self, step)
        moved.append(not torch.equal(before, self.weights))
        return loss

    def watched(self: Any, rows: Any, losses: Any) -> None:
        told.append(len(rows))
        observe(self, rows, losses)

    monkeypatch.setattr(GroupDro, "forward", forward)
    monkeypatch.setattr(HardNegatives, "observe", watched)
    settings = small_settings(
        finetune={
            "epochs": 1,
            "optimizer": {"name": "sam"},
            "domain": {"method": "group_dro"},
            "sampling": {"hard_negatives": 0.5},
        }
    )
    finetune(small_backbone(settings), train, sets.select, settings, tmp_path)
    assert moved == [True, False] * 4
    assert told == [5] * 4


def test_sophia_measures_its_curvature_with_labels_that_the_model_draws(
    sets: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[torch.Tensor] = []
    curvatures: list[tuple[int, float]] = []
    rows_told: list[int] = []
    sample, curvature = module.sampled_labels, module.Supervised.curvature_loss
    update = SophiaG.update_curvature

    def sampled(logits: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        drawn.append(sample(logits, generator))
        return drawn[-1]

    def curvature_loss(self: Any) -> Any:
        before = torch.get_rng_state()
        loss, rows = curvature(self)
        assert torch.equal(torch.get_rng_state(), before), "a generator of its own"
        logits = self.network.head(self._features(self._batch))
        by_hand = -logits.log_softmax(dim=1)[torch.arange(5), drawn[-1]].mean()
        assert loss.item() == pytest.approx(by_hand.item(), rel=1e-5)
        curvatures.append((self.global_step, loss.item()))
        return loss, rows

    def told(self: Any, rows: int) -> None:
        rows_told.append(rows)
        update(self, rows)

    monkeypatch.setattr(module, "sampled_labels", sampled)
    monkeypatch.setattr(module.Supervised, "curvature_loss", curvature_loss)
    monkeypatch.setattr(SophiaG, "update_curvature", told)
    run(sets, tmp_path, "sophia")
    assert [step for step, _ in curvatures] == [0, 10]  # of twelve
    assert rows_told == [5, 5]
    assert len(drawn) == 2


def test_the_curvature_is_computed_in_32_bits_beside_bf16(
    sets: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds: list[torch.dtype] = []
    curvature = module.Supervised.curvature_loss

    def curvature_loss(self: Any) -> Any:
        loss, rows = curvature(self)
        kinds.append(loss.dtype)
        return loss, rows

    monkeypatch.setattr(module.Supervised, "curvature_loss", curvature_loss)
    settings = small_settings(
        finetune={"optimizer": {"name": "sophia"}, "epochs": 1}, compute={"precision": "bf16"}
    )
    finetune(small_backbone(settings), sets.train, sets.select, settings, tmp_path)
    assert kinds == [torch.float32]


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
