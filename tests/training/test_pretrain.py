"""Pretraining: only training images, only ExPLoRA's weights, the same after an interruption."""

from __future__ import annotations

import logging
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from roadwork.data.splits import Splits
from roadwork.errors import LeakageError, TrainingError
from roadwork.models.backbone import Backbone, build_network
from roadwork.settings import Settings
from roadwork.training import pretrain as module
from roadwork.training.pretrain import pretrain
from tests.training.made_photos import NAME, SIZE, small_backbone, small_settings


class Killed(BaseException):
    """Stands for the end of the process."""


def run(sets: Splits, checkpoints: Path, settings: Settings | None = None) -> Backbone:
    settings = settings or small_settings()
    return pretrain(small_backbone(settings), sets.train, settings, checkpoints)


@pytest.fixture(scope="module")
def whole(sets: Splits, tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return run(sets, tmp_path_factory.mktemp("whole"))


def test_a_plain_backbone_comes_out_and_remembers_the_images(whole: Backbone, sets: Splits) -> None:
    start = small_backbone()
    before, after = start.network.state_dict(), whole.network.state_dict()
    assert list(after) == list(build_network(NAME, SIZE).state_dict())
    assert whole.exposure.counts() == {"pretrain": {"samples": 20, "groups": 5}}
    assert whole.origin == "random weights; ExPLoRA on 20 training images"
    assert not whole.learned  # two passes over random weights are no published weights
    assert not start.exposure.uses
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    norms = {f"blocks.0.norm{n}.{part}" for n in (1, 2) for part in ("weight", "bias")}
    last = {key for key in before if key.startswith("blocks.1.")}
    merged = {"blocks.0.attn.q_proj.weight", "blocks.0.attn.v_proj.weight"}
    assert changed == norms | last | merged | {"norm.weight", "norm.bias", "cls_token"}


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(
    whole: Backbone, sets: Splits, checkpoints: Path
) -> None:
    assert run(sets, checkpoints).content_hash == whole.content_hash
    assert not list(checkpoints.glob("*"))
    start = small_backbone()
    other = pretrain(start, sets.train, small_settings(seed=4), checkpoints)
    assert other.content_hash != whole.content_hash


@pytest.mark.parametrize("step", [1, 3, 4, 6, 7])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(
    step: int,
    whole: Backbone,
    sets: Splits,
    checkpoints: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    original = module._Explora.training_step

    def training_step(self: Any, batch: Any, batch_idx: int) -> Any:
        if self.global_step == step:
            raise Killed
        return original(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(module._Explora, "training_step", training_step)
        with pytest.raises(Killed):
            run(sets, checkpoints)
    with caplog.at_level(logging.INFO, "roadwork"):
        resumed = run(sets, checkpoints)
    assert "going on from the checkpoint of step" in caplog.text
    assert resumed.content_hash == whole.content_hash


def test_the_teacher_is_the_moving_average_of_the_trained_weights(
    sets: Splits, checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After every step: teacher = 0.75 teacher + 0.25 student, frozen weights untouched."""
    seen: list[dict[str, torch.Tensor]] = []
    modules: list[Any] = []

    def trained(self: Any) -> dict[str, torch.Tensor]:
        return {k: v.detach().clone() for k, v in self.state_dict().items()}

    original = module._Explora.training_step

    def training_step(self: Any, batch: Any, batch_idx: int) -> Any:
        modules.append(self)
        seen.append(trained(self))
        return original(self, batch, batch_idx)

    monkeypatch.setattr(module._Explora, "training_step", training_step)
    run(sets, checkpoints, small_settings(pretrain={"epochs": 1, "momentum": 0.75}))
    explora = modules[0]
    assert len(seen) == 4
    names = [key for key in seen[0] if key.startswith(("student.", "student_head."))]
    assert any("lora_B" in name for name in names)
    for before, after in pairwise(seen):
        moved = 0
        for name in names:
            follower = name.replace("student", "teacher", 1)
            still = torch.equal(before[name], after[name])
            if still and torch.equal(before[follower], after[follower]):
                continue
            moved += 1
            expected = 0.75 * before[follower] + 0.25 * after[name]
            torch.testing.assert_close(after[follower], expected, atol=1e-6, rtol=1e-5)
        assert moved >= 10
    frozen = "student.blocks.0.mlp.fc1.weight"
    assert torch.equal(seen[0][frozen], seen[-1][frozen])
    teacher = frozen.replace("student", "teacher")
    assert torch.equal(seen[0][frozen], seen[-1][teacher])
    assert not any(p.requires_grad for p in explora.teacher.parameters())
    assert all(p.grad is None for p in explora.teacher.parameters())
    assert all(p.grad is None for p in explora.teacher_head.parameters())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"pretrain": {"enabled": False}}, "enabled is false"),
        ({"pretrain": {"epochs": 0}}, "epochs is 0"),
        (
            {"backbone": {"name": "tf_efficientnet_lite0", "weights": "random"}},
            "is a convolutional network",
        ),
    ],
)
def test_what_is_skipped_says_so_and_stays(
    changes: dict[str, Any],
    reason: str,
    sets: Splits,
    checkpoints: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = small_settings(**changes)
    start = small_backbone(settings)
    with caplog.at_level(logging.INFO, "roadwork"):
        assert pretrain(start, sets.train, settings, checkpoints) is start
    assert reason in caplog.text


@pytest.mark.parametrize("role", ["select", "calibrate", "conformal", "test"])
def test_only_the_training_set_is_taken(role: str, sets: Splits, checkpoints: Path) -> None:
    with pytest.raises(LeakageError, match="takes the training set"):
        pretrain(small_backbone(), getattr(sets, role), small_settings(), checkpoints)


def test_a_collapse_is_said(
    sets: Splits,
    checkpoints: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = small_settings(pretrain={"epochs": 1})
    with caplog.at_level(logging.WARNING, "roadwork"):
        run(sets, checkpoints, settings)
    assert "collapses" not in caplog.text

    def one_prototype(self: Any, teacher: torch.Tensor) -> torch.Tensor:
        return torch.eye(teacher.shape[-1])[0].expand(teacher.shape)

    monkeypatch.setattr(module.DinoLoss, "targets", one_prototype)
    with caplog.at_level(logging.WARNING, "roadwork"):
        run(sets, checkpoints, settings)
    assert "pretraining collapses" in caplog.text


def test_a_loss_that_is_no_number_stops_training(
    sets: Splits, checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "koleo", lambda features: features.sum() * float("nan"))
    with pytest.raises(TrainingError, match="the self-distillation loss is nan"):
        run(sets, checkpoints)
