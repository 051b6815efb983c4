"""The recorder misses nothing, doubles nothing, and goes on exactly after a kill."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from roadwork.data.loading import BatchStream
from roadwork.data.splits import Splits
from roadwork.errors import TrainingError
from roadwork.training import curves as curves_module
from roadwork.training.curves import Curves, Point
from roadwork.training.finetune import finetune
from roadwork.training.fit import fit
from roadwork.training.live import LiveTracker
from roadwork.training.recorder import Recorder
from tests.training.made_photos import small_backbone, small_settings


class Killed(BaseException):
    """Stands for the end of the process."""


class Known(LightningModule):
    """Logs figures that follow from the step, in every way that Lightning has."""

    def __init__(self, die_at: int | None = None) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.die_at = die_at

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        if self.global_step == self.die_at:
            raise Killed
        size = len(batch["x"])
        self.log("by/step", float(self.global_step), on_step=True, on_epoch=False)
        self.log("by/both", float(batch_idx), on_step=True, on_epoch=True, batch_size=size)
        self.log("by/pass", float(batch_idx), on_step=False, on_epoch=True, batch_size=1)
        return (self.weight - 1) ** 2

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("select/mean", batch.mean(), batch_size=len(batch))

    def on_validation_epoch_end(self) -> None:
        self.log("select/step", float(self.global_step))

    def on_train_epoch_end(self) -> None:
        self.log("late", 10.0 * self.current_epoch)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Held:
    def __len__(self) -> int:
        return 2

    def __iter__(self) -> Iterator[Tensor]:
        yield from (torch.ones(2), torch.zeros(2))


class Collected:
    def __init__(self) -> None:
        self.calls: list[list[Point]] = []

    def log(self, points: Sequence[Point]) -> None:
        self.calls.append(list(points))

    def close(self) -> None: ...

    @property
    def points(self) -> list[Point]:
        return [point for call in self.calls for point in call]


def train(folder: Path, recorder: Recorder, die_at: int | None = None) -> Recorder:
    """Three passes of four steps, a checkpoint after every second step."""
    recorder.start({"select/step": -1.0})
    rows = torch.arange(20.0)
    stream = BatchStream(20, 5, 0, lambda chosen, epoch: {"x": rows[torch.from_numpy(chosen)]})
    fit(
        Known(die_at),
        stream,
        Held(),
        epochs=3,
        folder=folder,
        checkpoint_every=2,
        recorder=recorder,
    )
    return recorder


def rows(curves: Curves, name: str) -> list[tuple[int, int, float]]:
    return [(point.step, point.epoch, point.value) for point in curves.of(name)]


def test_every_value_is_taken_down_once(tmp_path: Path) -> None:
    curves = train(tmp_path, Recorder()).curves
    assert curves.names == ["by/both", "by/step", "late", "select/mean", "select/step"]
    steps = [(step, (step - 1) // 4 + 1) for step in range(1, 13)]
    assert rows(curves, "by/step") == [(step, epoch, step - 1) for step, epoch in steps]
    assert rows(curves, "by/both") == [(step, epoch, (step - 1) % 4) for step, epoch in steps]
    assert rows(curves, "select/mean") == [(4, 1, 0.5), (8, 2, 0.5), (12, 3, 0.5)]
    assert rows(curves, "select/step") == [(0, 0, -1), (4, 1, 4), (8, 2, 8), (12, 3, 12)]
    assert rows(curves, "late") == [(4, 1, 0), (8, 2, 10), (12, 3, 20)]


@pytest.mark.parametrize("die_at", range(1, 12))
def test_a_killed_run_ends_with_the_same_curves(
    die_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curves_module, "LIMIT", 4)
    whole = train(tmp_path / "whole", Recorder())
    told = Collected()
    with pytest.raises(Killed):
        train(tmp_path / "killed", Recorder(told), die_at)
    resumed = train(tmp_path / "killed", Recorder(told))
    assert resumed.curves.columns() == whole.curves.columns()
    # What was told holds every point that is left, and equal ones where a point was told twice.
    distinct = {(point.name, point.step): point for point in told.points}
    assert all(distinct[point.name, point.step] == point for point in resumed.curves)
    assert len(set(told.points)) == len(distinct)


def test_seconds_grow_and_leave_the_pause_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = itertools.count(0.0, 0.25)
    monkeypatch.setattr("roadwork.training.recorder._clock", lambda: next(ticks))
    with pytest.raises(Killed):
        train(tmp_path, Recorder(), 7)
    ticks = itertools.count(1e6, 0.25)
    curves = train(tmp_path, Recorder()).curves
    seconds = [point.seconds for point in curves.of("by/step")]
    assert seconds == sorted(seconds)
    assert 0 < seconds[0] < seconds[-1] < 100


def test_the_tracker_is_told_while_training_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = itertools.count(0.0, 1.0)  # every look at the clock is a second later
    monkeypatch.setattr("roadwork.training.recorder._clock", lambda: next(ticks))
    told = Collected()
    recorder = train(tmp_path, Recorder(told))
    assert len(told.calls) > 6
    assert max(point.step for point in told.calls[0]) < 4, "within the first pass"
    assert sorted(set(told.points)) == sorted(recorder.curves)


class Dying:
    """A tracking server that answers twice."""

    def __init__(self) -> None:
        self.calls = 0

    def log(self, points: Sequence[Point]) -> None:
        self.calls += 1
        if self.calls > 2:
            raise ConnectionError("connection refused")

    def close(self) -> None: ...


def test_a_tracker_that_dies_is_one_warning_and_the_run_is_the_same(
    sets: Splits, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = small_settings()
    backbone = small_backbone(settings)
    plain = finetune(backbone, sets.train, sets.select, settings, tmp_path / "plain")
    server = Dying()
    live = LiveTracker(lambda: server, remedy="all is logged at the end")
    with caplog.at_level(logging.WARNING):
        told = finetune(
            backbone, sets.train, sets.select, settings, tmp_path / "told", tracker=live
        )
        live.close()
        live.log([Point("x", 1, 1, 0.0, 0.0)])
        live.close()
    warned = [r.getMessage() for r in caplog.records if r.name == "roadwork.training.live"]
    assert warned == [
        "the tracker failed and is told no more: connection refused; all is logged at the end"
    ]
    assert server.calls == 3
    assert told.history == plain.history
    assert told.classifier.content_hash == plain.classifier.content_hash
    curves = Curves.of_columns(told.history["curves"])
    # Lightning holds a logged number in 32 bits.
    logged = [point.value for point in curves.of("select/nll")]
    assert logged == pytest.approx(told.history["select_nll"], rel=1e-6)
    assert [p.epoch for p in curves.of("select/nll")] == [0, 1, 2, 3]
    assert "train/loss" in curves.names


def test_a_tracker_that_cannot_be_opened_is_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    def build() -> Collected:
        raise OSError("no route to host")

    live = LiveTracker(build)
    for step in range(5):
        live.log([Point("x", step, 1, 0.0, 0.0)])
    live.close()
    assert [r.getMessage() for r in caplog.records] == [
        "the tracker failed and is told no more: no route to host; training goes on"
    ]


def test_a_tracker_that_hangs_holds_nothing_up(caplog: pytest.LogCaptureFixture) -> None:
    release = threading.Event()

    class Hanging:
        def log(self, points: Sequence[Point]) -> None:
            release.wait(30)

        def close(self) -> None: ...

    live = LiveTracker(Hanging)
    live.log([Point("x", 1, 1, 0.0, 0.0)])
    live.close(0.05)
    release.set()
    assert "it did not take all within 0.05 s" in caplog.text
    assert live._thread is not None
    live._thread.join(5)
    assert not live._thread.is_alive()


def test_an_error_of_training_reaches_the_tracker_first(tmp_path: Path) -> None:
    class Faulty(Known):
        def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
            if self.global_step == 6:
                raise TrainingError("the loss is nan")
            return super().training_step(batch, batch_idx)

    told = Collected()
    stream = BatchStream(20, 5, 0, lambda chosen, epoch: {"x": torch.from_numpy(chosen)})
    with pytest.raises(TrainingError):
        fit(
            Faulty(),
            stream,
            Held(),
            epochs=3,
            folder=tmp_path,
            checkpoint_every=50,
            recorder=Recorder(told),
        )
    assert max(point.step for point in told.points if point.name == "by/step") == 6
