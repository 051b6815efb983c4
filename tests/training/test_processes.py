"""Processes that share a batch: what each takes; and two learn what one learns, bit for bit nearly.

The slow tests start two real processes (gloo, on the CPU) that work through :data:`CASES`: for DDP
by torchrun, as in a pod of Kubeflow's Trainer, for FSDP by our launcher.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from roadwork.data.splits import Splits
from roadwork.errors import ConfigError
from roadwork.models.sharding import cut_like, shard, whole
from roadwork.settings import ComputeSettings
from roadwork.training import processes
from roadwork.training.finetune import Finetuned
from roadwork.training.launch import run_workers
from roadwork.training.pretrain import Pretrained
from roadwork.training.processes import Group, average_gradients, current, join, must_launch
from roadwork.training.strategies import Shardable, trainer_arguments
from tests.data import made
from tests.training.made_photos import photo_rows
from tests.training.ranks import run_case, stop_case


@pytest.mark.parametrize(("rows", "world"), [(12, 1), (12, 2), (13, 2), (1, 3), (7, 4), (8, 3)])
def test_shares_hold_every_row_once_and_are_equally_long(rows: int, world: int) -> None:
    shares = [Group(rank, world).share(rows) for rank in range(world)]
    assert len({len(share) for share in shares}) == 1
    together = np.concatenate(shares)
    assert together[:rows].tolist() == list(range(rows))
    assert set(together[rows:]) <= {rows - 1}
    assert len(together) < rows + world


def test_a_process_alone_keeps_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    group = join(ComputeSettings())
    assert group == current() == Group()
    assert group.first and not group.shared
    values = torch.arange(3.0)
    assert group.gather(values, 3) is values
    assert group.at_first(values, 3) is values
    assert group.from_first(values.numpy()) is not None
    assert group.agreed(True) is True
    assert group.agreed(False) is False
    group.wait()
    weight = nn.Parameter(torch.ones(2))
    weight.grad = torch.full((2,), 3.0)
    average_gradients([weight])
    assert weight.grad.tolist() == [3.0, 3.0]
    assert trainer_arguments(group, "ddp") == {"accelerator": "auto", "devices": 1}


def test_processes_are_launched_unless_they_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    two = ComputeSettings(processes=2)
    assert must_launch(two)
    assert not must_launch(ComputeSettings())
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(ConfigError, match="WORLD_SIZE is 2, but RANK is not set"):
        must_launch(two)
    monkeypatch.setenv("RANK", "0")
    assert not must_launch(two)


def test_torchruns_number_of_processes_must_be_that_of_the_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {"WORLD_SIZE": "4", "RANK": "3"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=r"compute\.processes is 2, but 4 processes were started"):
        join(ComputeSettings(processes=2))


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    processes.require_devices(2)
    with pytest.raises(ConfigError, match=r"compute\.processes: 3 processes would share 2 GPU"):
        processes.require_devices(3)


def test_more_processes_than_cores_are_warned_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(processes, "cores", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    processes.warn_of_cores(2)
    assert not caplog.records
    processes.warn_of_cores(3)
    assert "compute.processes: 3 processes share 2 core(s)" in caplog.text


def test_the_machines_of_torchrun_are_counted() -> None:
    found = trainer_arguments(Group(5, 8, 1, 4), "fsdp")
    assert (found["devices"], found["num_nodes"]) == (4, 2)


def test_whole_tensors_stay_as_they_are() -> None:
    pair = (torch.ones(1), 4)
    state = {"a": torch.ones(2), "b": [torch.zeros(1), 3], "c": "text", "d": pair}
    found = whole(state)
    assert found["a"] is state["a"]
    assert found["b"][0] is state["b"][0]
    assert isinstance(found["d"], tuple)
    assert found["d"][0] is pair[0]
    assert cut_like(state["a"], torch.zeros(2)) is state["a"]


def test_a_weight_that_is_one_number_cannot_be_cut() -> None:
    module = nn.Linear(2, 2)
    module.rho = nn.Parameter(torch.tensor(1.0))
    with pytest.raises(ConfigError, match=r"fsdp cannot cut rho.*doran"):
        shard(module, None)  # pyright: ignore[reportArgumentType]


def _finetune(**changes: Any) -> dict[str, Any]:
    usual = {"batch_size": 4, "epochs": 2, "learning_rate": 0.002, "patience": 9}
    return {"finetune": {**usual, **changes}}


def _pretrain(**changes: Any) -> dict[str, Any]:
    usual = {"epochs": 2, "batch_size": 4, "rank": 2, "prototypes": 16}
    return {"task": "pretrain", "pretrain": {**usual, **changes}}


def _parts(case: dict[str, Any]) -> dict[str, Any]:
    return {**case, "compute": {"checkpoint_every": 2, "accumulate": 2}}


def _tiles(case: dict[str, Any]) -> dict[str, Any]:
    return {**case, "backbone": {"views": {"tiles": 9, "aggregator": "attention"}}}


CASES: dict[str, dict[str, Any]] = {
    "adamw": _finetune(),
    "schedule_free": _finetune(optimizer={"name": "schedule_free"}),
    "sam": _finetune(optimizer={"name": "sam"}),
    "ademamix": _finetune(optimizer={"name": "ademamix"}),
    "sophia": _finetune(optimizer={"name": "sophia"}, learning_rate=0.0003),
    "accumulate": _parts(_finetune()),
    "full": _finetune(adapter="full", learning_rate=0.0005, layer_decay=0.7),
    "gatekeeper": _finetune(loss={"name": "gatekeeper"}),
    "group_dro": _finetune(domain={"method": "group_dro", "group_step": 0.5}),
    "cdann": _finetune(domain={"method": "cdann", "weight": 1.0}),
    "mining": _finetune(sampling={"balance": "source_and_class", "hard_negatives": 0.5}),
    "tiles": _tiles(_finetune()),
    "pretrain": _pretrain(),
    "sinkhorn": _parts(_pretrain(centring="sinkhorn", optimizer="ademamix")),
    # Passes have 5 steps, checkpoints come at 1, 2, 4, 6, 8.
    "stopped": {**_finetune(optimizer={"name": "schedule_free"}), "stop": 7},
    "began_alone": {**_finetune(ema=0.9), "stop": 7},
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Splits:
    folder = tmp_path_factory.mktemp("sources")
    parts = [photo_rows(folder, range(a, b)) for a, b in pairwise([0, 20, 33, 45, 57, 69])]
    for part in parts:
        for number, row in enumerate(part):
            row["source"] = "natix" if number // 4 % 2 else "mapillary"
    return made.splits(parts)


def _written(folder: Path, sets: Splits) -> Path:
    for name in ("train", "select"):
        (folder / name).mkdir(parents=True)
        getattr(sets, name).save(folder / name)
    return folder


@pytest.fixture(scope="module")
def alone(sources: Splits, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one process finds in every case."""
    folder = _written(tmp_path_factory.mktemp("alone"), sources)
    return {name: run_case(folder, case, folder / "checkpoints") for name, case in CASES.items()}


@pytest.fixture(scope="module", params=["ddp", "fsdp"])
def together(
    request: pytest.FixtureRequest, sources: Splits, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of what two processes find."""
    folder = _written(tmp_path_factory.mktemp(request.param), sources)
    strategy = request.param
    cases = (
        dict(CASES) if strategy == "ddp" else {**CASES, "refused": _finetune(adapter="doran_full")}
    )
    for name, case in cases.items():
        compute = {**case.get("compute", {"checkpoint_every": 2}), "processes": 2}
        cases[name] = {**case, "compute": {**compute, "strategy": strategy}}
    stop_case(folder, CASES["began_alone"], folder / "checkpoints" / "began_alone")
    del cases["began_alone"]["stop"]
    (folder / "cases.json").write_text(json.dumps(cases))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        if strategy == "ddp":
            _by_torchrun(folder)
        else:
            # The last case: whatever real workers find wrong is raised here.
            with pytest.raises(ConfigError, match=r"^compute\.strategy: fsdp cannot cut"):
                run_workers([sys.executable, *_RANKS, str(folder)], 2, folder)
    return folder


_RANKS = ["-m", "tests.training.ranks"]


def _by_torchrun(folder: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    with (folder / "said").open("w") as said:
        running = subprocess.Popen(
            [*torchrun, "--nproc-per-node", "2", *_RANKS, str(folder)],
            stdin=subprocess.PIPE,  # open as long as they shall live
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        try:
            code = running.wait(300)
        finally:
            running.kill()
            if running.stdin is not None:
                running.stdin.close()
    assert code == 0, (folder / "said").read_text()[-4000:]


def _weights(found: Finetuned | Pretrained) -> dict[str, torch.Tensor]:
    model = found.classifier if isinstance(found, Finetuned) else found.backbone
    return model.network.state_dict()


def _assert_close(found: Finetuned | Pretrained, expected: Finetuned | Pretrained) -> None:
    """Sums in another order: float32 leaves about 1e-7 of weights near 1."""
    weights = _weights(found)
    for name, weight in _weights(expected).items():
        torch.testing.assert_close(weights[name], weight, rtol=0, atol=2e-6)
    if isinstance(found, Pretrained) or isinstance(expected, Pretrained):
        for mine, theirs in zip(found.history["passes"], expected.history["passes"], strict=True):
            assert mine == pytest.approx(theirs, abs=1e-5)
        assert found.history["start"] == pytest.approx(expected.history["start"], abs=1e-5)
        return
    assert found.history["select_nll"] == pytest.approx(expected.history["select_nll"], abs=1e-5)
    assert found.history["best_epoch"] == expected.history["best_epoch"]
    curves, theirs = found.history["curves"], expected.history["curves"]
    assert curves["name"] == theirs["name"]
    assert curves["step"] == theirs["step"]
    assert curves["value"] == pytest.approx(theirs["value"], rel=1e-3, abs=1e-5)
    for mine, other in zip(
        found.history.get("domain", {}).get("passes", []),
        expected.history.get("domain", {}).get("passes", []),
        strict=True,
    ):
        assert mine == pytest.approx(other, abs=1e-5)
    assert found.classifier.exposure.to_bytes() == expected.classifier.exposure.to_bytes()
    assert found.mined.to_bytes() == expected.mined.to_bytes()


def _loaded(folder: Path, name: str) -> Finetuned | Pretrained:
    kind = Pretrained if CASES[name].get("task") == "pretrain" else Finetuned
    return kind.load(folder / name)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_two_processes_learn_what_one_learns(
    name: str, together: Path, alone: dict[str, Any]
) -> None:
    found = _loaded(together, name)
    _assert_close(found, alone[name])
    # It is no comparison of a start with itself.
    assert found.history["execution"]["processes"] == 2
    if isinstance(found, Finetuned):
        values = found.history["curves"]["value"]
        assert len(set(values)) > len(values) / 2
        assert len(set(found.history["select_nll"])) > 1


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_both_processes_find_the_same(name: str, together: Path) -> None:
    """To the bit, and so they agree when to stop."""
    records = [json.loads((together / f"{name}-{rank}.json").read_text()) for rank in range(2)]
    for record in records:
        record["curves"].pop("seconds")
    assert records[0] == records[1]


@pytest.mark.slow
def test_one_process_finishes_what_two_began(together: Path, alone: dict[str, Any]) -> None:
    """And two resumed it as exactly as one does: ``stopped`` was compared above."""
    (kept,) = (together / "kept" / "stopped").glob("finetune-*/last.ckpt")
    assert torch.load(kept, weights_only=True)["global_step"] == 6
    found = run_case(together, CASES["stopped"], together / "kept" / "stopped")
    _assert_close(found, alone["stopped"])


@pytest.mark.slow
def test_two_processes_go_on_exactly(together: Path) -> None:
    """The run that was stopped in the middle of a pass is the one that was not."""
    whole, resumed = (Finetuned.load(together / name) for name in ("schedule_free", "stopped"))
    assert resumed.classifier.content_hash == whole.classifier.content_hash
    assert resumed.history["select_nll"] == whole.history["select_nll"]
    assert resumed.history["curves"]["value"] == whole.history["curves"]["value"]


@pytest.mark.slow
def test_what_one_process_began_two_have_finished(together: Path) -> None:
    assert not list((together / "checkpoints" / "began_alone").iterdir())


def test_trainings_know_how_to_cut_their_weights() -> None:
    from roadwork.training.explora import Explora
    from roadwork.training.supervised import Supervised

    assert issubclass(Explora, Shardable)
    assert issubclass(Supervised, Shardable)
