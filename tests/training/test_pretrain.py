"""Pretraining: only training images, only ExPLoRA's weights, the same after an interruption."""

from __future__ import annotations

import json
import logging
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from roadwork.data.loading import read_image
from roadwork.data.splits import Splits
from roadwork.errors import LeakageError, TrainingError
from roadwork.models.adapters import merge_lora
from roadwork.models.backbone import build_network
from roadwork.settings import Settings
from roadwork.training.dino import PrototypeHead
from roadwork.training.explora import FIGURES, Explora
from roadwork.training.pretrain import Pretrained, pretrain, student_of
from roadwork.training.teacher import teacher_momentum
from tests.training.made_photos import NAME, SIZE, photo_sets, small_backbone, small_settings


class Killed(BaseException):
    """Stands for the end of the process."""


def run(sets: Splits, checkpoints: Path, settings: Settings | None = None) -> Pretrained:
    settings = settings or small_settings()
    return pretrain(small_backbone(settings), sets.train, settings, checkpoints)


def told(found: Pretrained) -> dict[str, Any]:
    """The history but for what the clock says."""
    curves = {name: column for name, column in found.history["curves"].items() if name != "seconds"}
    return {**found.history, "curves": curves}


@pytest.fixture(scope="module")
def whole(sets: Splits, tmp_path_factory: pytest.TempPathFactory) -> Pretrained:
    return run(sets, tmp_path_factory.mktemp("whole"))


def test_a_plain_backbone_comes_out_and_remembers_the_images(
    whole: Pretrained, sets: Splits
) -> None:
    start, found = small_backbone(), whole.backbone
    before, after = start.network.state_dict(), found.network.state_dict()
    assert list(after) == list(build_network(NAME, SIZE).state_dict())
    assert found.exposure.counts() == {"pretrain": {"samples": 20, "groups": 5}}
    assert found.origin == "random weights; ExPLoRA on 20 training images"
    assert not found.learned  # two passes over random weights are no published weights
    assert not start.exposure.uses
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    norms = {f"blocks.0.norm{n}.{part}" for n in (1, 2) for part in ("weight", "bias")}
    last = {key for key in before if key.startswith("blocks.1.")}
    merged = {"blocks.0.attn.q_proj.weight", "blocks.0.attn.v_proj.weight"}
    assert changed == norms | last | merged | {"norm.weight", "norm.bias", "cls_token"}


def test_the_history_tells_the_figures_of_every_pass(whole: Pretrained) -> None:
    history = whole.history
    assert history["skipped"] is None
    assert len(history["passes"]) == 2
    for figures in [history["start"], *history["passes"]]:
        assert tuple(figures) == FIGURES
        expected = figures["dino"] + figures["ibot"] + 0.1 * figures["koleo"]
        assert figures["loss"] == pytest.approx(expected, abs=1e-5)
        assert 0 <= figures["divergence"] <= figures["entropy"] <= 1 + 1e-6
    assert history["weights"] == sum(p.numel() for p in whole.backbone.network.parameters()) + 384
    assert history["trained_weights"] == 28_944
    assert history["execution"]["compile"] == "off"
    names = set(history["curves"]["name"])
    assert {f"pretrain/{name}" for name in FIGURES} <= names
    assert {"pretrain/grad_norm", "pretrain/learning_rate"} <= names
    assert json.loads(json.dumps(history)) == history
    # The mean of the steps' values is that of the pass.
    curves = zip(history["curves"]["name"], history["curves"]["value"], strict=True)
    losses = [value for name, value in curves if name == "pretrain/loss"]
    assert len(losses) == 8
    assert history["passes"][0]["loss"] == pytest.approx(sum(losses[:4]) / 4, rel=1e-6)
    assert history["start"]["loss"] == pytest.approx(losses[0], rel=1e-6)


def test_the_merged_backbone_answers_as_the_student_did(
    sets: Splits, checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[torch.Tensor] = []
    images = torch.randn(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))

    def merge(network: Any) -> None:
        with torch.no_grad():
            answers.append(network.cpu().eval()(images))
        merge_lora(network)

    monkeypatch.setattr("roadwork.training.pretrain.merge_lora", merge)
    found = run(sets, checkpoints).backbone.network
    with torch.no_grad():
        torch.testing.assert_close(found(images), answers[0], atol=1e-5, rtol=1e-5)
        assert float((found(images) - small_backbone().network(images)).abs().max()) > 1e-3
    assert not any("lora" in name or "mask" in name for name in found.state_dict())
    found.load_state_dict(build_network(NAME, SIZE).state_dict(), strict=True)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(
    whole: Pretrained, sets: Splits, checkpoints: Path
) -> None:
    again = run(sets, checkpoints)
    assert again.backbone.content_hash == whole.backbone.content_hash
    assert told(again) == told(whole)
    assert not list(checkpoints.glob("*"))
    start = small_backbone()
    other = pretrain(start, sets.train, small_settings(seed=4), checkpoints)
    assert other.backbone.content_hash != whole.backbone.content_hash


def killed_and_resumed(
    step: int, sets: Splits, checkpoints: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Pretrained:
    original = Explora.training_step

    def training_step(self: Any, batch: Any, batch_idx: int) -> Any:
        if self.global_step == step:
            raise Killed
        return original(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(Explora, "training_step", training_step)
        with pytest.raises(Killed):
            run(sets, checkpoints, settings)
    return run(sets, checkpoints, settings)


@pytest.mark.parametrize("step", [1, 4, 6])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(
    step: int,
    whole: Pretrained,
    sets: Splits,
    checkpoints: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, "roadwork"):
        resumed = killed_and_resumed(step, sets, checkpoints, small_settings(), monkeypatch)
    assert "going on from the checkpoint of step" in caplog.text
    assert resumed.backbone.content_hash == whole.backbone.content_hash
    assert told(resumed) == told(whole)


def test_so_does_one_with_a_running_mean_and_another_optimizer(
    sets: Splits, checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = small_settings(
        pretrain={"centring": "mean", "optimizer": "ademamix", "freeze_prototypes": 0.6}
    )
    whole = run(sets, checkpoints, settings)
    resumed = killed_and_resumed(6, sets, checkpoints, settings, monkeypatch)
    assert resumed.backbone.content_hash == whole.backbone.content_hash
    assert told(resumed) == told(whole)


def watched(
    sets: Splits, checkpoints: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> tuple[Any, list[dict[str, torch.Tensor]]]:
    """The module, and its state before every step."""
    seen: list[dict[str, torch.Tensor]] = []
    modules: list[Any] = []
    original = Explora.training_step

    def training_step(self: Any, batch: Any, batch_idx: int) -> Any:
        modules.append(self)
        seen.append({k: v.detach().clone() for k, v in self.state_dict().items()})
        return original(self, batch, batch_idx)

    monkeypatch.setattr(Explora, "training_step", training_step)
    run(sets, checkpoints, settings)
    return modules[0], seen


def test_the_teacher_is_the_moving_average_of_the_trained_weights(
    sets: Splits, checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After step t: teacher = m_t teacher + (1 - m_t) student, frozen weights untouched."""
    settings = small_settings(pretrain={"epochs": 1, "momentum": 0.75})
    explora, seen = watched(sets, checkpoints, settings, monkeypatch)
    assert len(seen) == 4
    names = [key for key in seen[0] if key.startswith("student.")]
    assert any("lora_B" in name for name in names)
    for step, (before, after) in enumerate(pairwise(seen)):
        momentum = teacher_momentum(step, 4, 0.75)
        moved = 0
        for name in names:
            follower = name.replace("student", "teacher", 1)
            still = torch.equal(before[name], after[name])
            if still and torch.equal(before[follower], after[follower]):
                continue
            moved += 1
            expected = momentum * before[follower] + (1 - momentum) * after[name]
            torch.testing.assert_close(after[follower], expected, atol=1e-6, rtol=1e-5)
        assert moved >= 10
    frozen = "student.backbone.network.blocks.0.mlp.fc1.weight"
    assert torch.equal(seen[0][frozen], seen[-1][frozen])
    assert torch.equal(seen[0][frozen], seen[-1][frozen.replace("student", "teacher")])
    assert not any(p.requires_grad for p in explora.teacher.parameters())
    assert all(p.grad is None for p in explora.teacher.parameters())


def test_prototypes_stay_at_first_and_both_heads_and_the_mask_token_learn(
    sets: Splits, checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of eight steps; weight decay must not move them either."""
    settings = small_settings(pretrain={"freeze_prototypes": 0.5, "mask_probability": 1.0})
    _, seen = watched(sets, checkpoints, settings, monkeypatch)
    for head in ("head", "patch_head"):
        held = [state[f"student.{head}.prototypes"] for state in seen]
        assert all(torch.equal(state, held[0]) for state in held[:5])
        assert not torch.equal(held[5], held[4])
        layers = [state[f"student.{head}.layers.0.weight"] for state in seen]
        assert not any(torch.equal(a, b) for a, b in pairwise(layers))
    tokens = [state["student.backbone.mask_token"] for state in seen]
    assert not tokens[0].any()
    assert bool(tokens[1].all())


def test_only_what_explora_names_trains() -> None:
    student = student_of(small_backbone(), rank=2)
    trained = {name for name, p in student.named_parameters() if p.requires_grad}
    lora = {name for name in trained if "lora_" in name}
    parts = [name.split(".blocks.0.attn.")[1].split(".")[0] for name in lora]
    assert sorted(parts) == ["q_proj", "q_proj", "v_proj", "v_proj"]
    rest = trained - lora
    last = {n for n, _ in student.named_parameters() if n.startswith("network.blocks.1.")}
    assert last <= rest
    norms = {f"network.blocks.0.norm{n}.{part}" for n in (1, 2) for part in ("weight", "bias")}
    names = {"network.norm.weight", "network.norm.bias", "network.cls_token", "mask_token"}
    assert rest == last | norms | names


def test_without_masks_or_local_crops_those_parts_are_left_out(
    sets: Splits, checkpoints: Path
) -> None:
    settings = small_settings(pretrain={"epochs": 1, "mask_probability": 0.0, "local_crops": 0})
    figures = run(sets, checkpoints, settings).history["passes"][0]
    assert figures["ibot"] == 0.0
    assert figures["dino"] > 0


def test_a_batch_in_parts_gives_the_same_weights(sets: Splits, checkpoints: Path) -> None:
    whole = run(sets, checkpoints, small_settings(pretrain={"epochs": 1}))
    parts = run(
        sets,
        checkpoints,
        small_settings(pretrain={"epochs": 1}, compute={"checkpoint_every": 2, "accumulate": 3}),
    )
    expected = whole.backbone.network.state_dict()
    for name, value in parts.backbone.network.state_dict().items():
        torch.testing.assert_close(value, expected[name], atol=2e-5, rtol=1e-4, msg=name)


def test_callers_can_keep_the_pictures(whole: Pretrained, sets: Splits, checkpoints: Path) -> None:
    kept = {uri: read_image(uri) for uri in sets.train.uris}
    found = pretrain(
        small_backbone(), sets.train, small_settings(), checkpoints, read=kept.__getitem__
    )
    assert found.backbone.content_hash == whole.backbone.content_hash


def striped(path: str, number: int) -> None:
    """Stripes of two colours, which a picture's crops share whatever their light."""
    rng = np.random.default_rng(number)
    angle, frequency = rng.uniform(0, np.pi), rng.uniform(0.3, 1.2)
    y, x = np.mgrid[:36, :48]
    wave = (np.sin(frequency * (x * np.cos(angle) + y * np.sin(angle)))[..., None] + 1) / 2
    one, other = rng.uniform(0, 255, (2, 3))
    Image.fromarray((wave * one + (1 - wave) * other).astype(np.uint8)).save(path)


@pytest.mark.parametrize("centring", ["mean", "sinkhorn"])
def test_pictures_are_told_apart_from_the_start_to_the_end(
    centring: str, tmp_path: Path, checkpoints: Path
) -> None:
    """Thirty steps; heads that start without data begin with a divergence of 0.02 and lose it."""
    train = photo_sets(tmp_path).train
    for number, uri in enumerate(train.uris):
        striped(uri, number)
    wanted = {"epochs": 15, "batch_size": 10, "prototypes": 64, "hidden": 64, "momentum": 0.9}
    learning = {"learning_rate": 1e-3, "mask_probability": 1.0, "centring": centring}
    settings = small_settings(pretrain=wanted | learning, compute={"checkpoint_every": 100})
    history = pretrain(small_backbone(), train, settings, checkpoints).history
    figures = [history["start"], *history["passes"]]
    assert min(one["divergence"] for one in figures) > 0.03
    # One answer to all pictures would cost the entropy of the mean target.
    assert figures[-1]["dino"] < figures[-1]["entropy"] * math.log(64) - 0.1


def test_heads_of_student_and_teacher_start_alike_with_the_first_images(
    sets: Splits, checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same images whatever the share of a process: those of the order, not of the stream."""
    seen: list[torch.Tensor] = []
    original = PrototypeHead.standardise

    def standardise(self: Any, features: torch.Tensor) -> None:
        seen.append(features)
        original(self, features)

    monkeypatch.setattr(PrototypeHead, "standardise", standardise)
    settings = small_settings(pretrain={"epochs": 1, "mask_probability": 1.0})
    _, states = watched(sets, checkpoints, settings, monkeypatch)
    assert seen[0].shape == (2 * 20, 48)
    assert seen[1].shape[1] == 48
    for name, value in states[0].items():
        if name.startswith("student."):
            assert torch.equal(value, states[0][name.replace("student", "teacher", 1)]), name
    layers = [states[0][f"student.head.layers.{n}.bias"] for n in (0, 2, 4)]
    assert all(bool(bias.any()) for bias in layers)


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
        found = pretrain(start, sets.train, settings, checkpoints)
    assert found.backbone is start
    assert reason in found.history["skipped"]
    assert reason in caplog.text


@pytest.mark.parametrize("role", ["select", "calibrate", "conformal", "test"])
def test_only_the_training_set_is_taken(role: str, sets: Splits, checkpoints: Path) -> None:
    with pytest.raises(LeakageError, match="takes the training set"):
        pretrain(small_backbone(), getattr(sets, role), small_settings(), checkpoints)


@pytest.mark.parametrize("centring", ["mean", "sinkhorn"])
def test_a_collapse_is_said(
    centring: str,
    sets: Splits,
    checkpoints: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = small_settings(pretrain={"epochs": 1, "centring": centring})
    with caplog.at_level(logging.WARNING, "roadwork"):
        run(sets, checkpoints, settings)
    assert "collapses" not in caplog.text
    # A head that gives all pictures the same scores: the centring has nothing to tell apart.
    original = PrototypeHead.forward

    def one_answer(self: Any, features: torch.Tensor) -> torch.Tensor:
        return original(self, features * 0.0 + 1.0)

    monkeypatch.setattr(PrototypeHead, "forward", one_answer)
    with caplog.at_level(logging.WARNING, "roadwork"):
        history = run(sets, checkpoints, settings).history
    assert history["passes"][0]["divergence"] < 1e-5
    assert "pass 1: pretraining collapses" in caplog.text
    assert "lower pretrain.learning_rate" in caplog.text


def test_a_loss_that_is_no_number_stops_training(
    sets: Splits, checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = "roadwork.training.explora.koleo"
    monkeypatch.setattr(broken, lambda features: features.sum() * float("nan"))
    with pytest.raises(TrainingError, match=r"the loss is nan.*Lower pretrain\.learning_rate"):
        run(sets, checkpoints)


@pytest.mark.slow
def test_compiled_and_plain_runs_learn_the_same(sets: Splits, checkpoints: Path) -> None:
    wanted = {"epochs": 1, "local_crops": 0}
    plain = run(sets, checkpoints, small_settings(pretrain=wanted))
    compute = {"checkpoint_every": 2, "compile": "default", "attention": "math"}
    compiled = run(sets, checkpoints, small_settings(pretrain=wanted, compute=compute))
    assert compiled.history["execution"]["compile"] == "default"
    assert compiled.history["execution"]["attention"]["backend"] == "math"
    assert compiled.history["passes"][0] == pytest.approx(plain.history["passes"][0], rel=1e-3)
    assert compiled.history["start"] == pytest.approx(plain.history["start"], rel=1e-4, abs=1e-6)
    expected = plain.backbone.network.state_dict()
    assert list(compiled.backbone.network.state_dict()) == list(expected)
    for name, value in compiled.backbone.network.state_dict().items():
        # Adam's steps have a length of their own where gradients are next to nothing.
        torch.testing.assert_close(value, expected[name], atol=1e-3, rtol=1e-3, msg=name)
