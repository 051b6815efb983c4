"""The recorder: takes down whatever a Lightning module logs, for curves and a tracker."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from roadwork.training.curves import Curves, Point, Tracker

__all__ = ["Recorder"]

_clock = time.monotonic
_EVERY = 2.0  # seconds between two reports to the tracker
_FORKS = ("_step", "_epoch")  # Lightning's second names of a value that has one of its own


class Recorder(Callback):
    """Records every value of ``module.log`` under its own name, and its step.

    Training figures must be logged by step: means over a pass are left out, because Lightning takes
    them over the rest of a pass that was resumed in its middle. What is logged on the selection
    set, or in hooks of the module, is recorded when the pass ends. Values stay on their device
    until they are needed, so that a step does not wait for the GPU. The state goes into the
    checkpoint: a resumed run ends with the curves of an uninterrupted one, the seconds excepted.
    Must stand before what saves checkpoints in the list of callbacks.
    """

    def __init__(self, tracker: Tracker | None = None) -> None:
        """``tracker`` is told of every point about every two seconds, and of all at the end."""
        self._curves = Curves()
        self._tracker = tracker
        self._pending: list[tuple[str, int, int, Tensor, float]] = []
        self._latest: dict[str, Tensor] = {}
        self._untold: list[Point] = []
        self._epoch = 0
        self._before = self._began = self._told = 0.0

    @property
    def curves(self) -> Curves:
        """Everything recorded so far."""
        self._settle()
        return self._curves

    def start(self, values: Mapping[str, float]) -> None:
        """Record values of before training, as step and pass 0.

        Those of a checkpoint that training goes on from take their place.
        """
        for name, value in values.items():
            self._enter(Point(name, 0, 0, float(value), 0.0))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._began = self._told = _clock()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take what the module logged after the callbacks had their turn."""
        self._take(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take the values of a step."""
        self._epoch = trainer.current_epoch + 1
        self._take(trainer)
        if self._tracker is not None and _clock() - self._told >= _EVERY:
            self._tell(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the values of the selection set."""
        self._take(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Pass over the means; the module's own hook comes after this one."""
        self._take(trainer, record=False)
        self._tell(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell the tracker of everything that is left."""
        self._take(trainer)
        # The newest point of a thinned curve was not told when it came.
        newest = (self._curves.newest(name) for name in self.curves.names)
        self._untold += [point for point in newest if point is not None]
        self._tell(trainer)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """The tracker shall know the steps that led to an error."""
        self._tell(trainer)

    def state_dict(self) -> dict[str, Any]:
        """For Lightning's checkpoint."""
        return {
            "curves": self.curves.state(),
            "seconds": self._seconds(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint; the tracker is told of its points again."""
        self._curves = Curves.from_state(state_dict["curves"])
        self._before = state_dict["seconds"]
        self._untold = list(self._curves)

    def _seconds(self) -> float:
        return self._before + _clock() - self._began

    def _take(self, trainer: Trainer, *, record: bool = True) -> None:
        """Take down the values that were logged since the last time."""
        for name, value in trainer.callback_metrics.items():
            latest = self._latest.get(name)
            # Lightning hands out new views of old values; one that was logged since lies elsewhere,
            # because the old one is kept here.
            if latest is not None and latest.data_ptr() == value.data_ptr():
                continue
            self._latest[name] = value
            if record and not name.endswith(_FORKS):
                at = (trainer.global_step, self._epoch)
                self._pending.append((name, *at, value.detach(), self._seconds()))

    def _settle(self) -> None:
        """Bring the values that wait on their device into the curves, all at once."""
        if not self._pending:
            return
        waiting = [value.double().reshape(()) for *_, value, _ in self._pending]
        numbers: dict[int, float] = {}
        # Some are logged as numbers of the host, others where the network is.
        for device in {value.device for value in waiting}:
            here = [index for index, value in enumerate(waiting) if value.device == device]
            values = torch.stack([waiting[index] for index in here]).tolist()
            numbers.update(zip(here, values, strict=True))
        for index, (name, step, epoch, _, seconds) in enumerate(self._pending):
            self._enter(Point(name, step, epoch, numbers[index], seconds))
        self._pending = []

    def _enter(self, point: Point) -> None:
        before = self._curves.newest(point.name)
        # A name that is logged twice at one step keeps its first value: no reason to end training.
        if (before is None or before.step < point.step) and self._curves.add(point):
            self._untold.append(point)

    def _tell(self, trainer: Trainer) -> None:
        self._settle()
        self._told = _clock()
        points, self._untold = self._untold, []
        if self._tracker is not None and trainer.is_global_zero and points:
            self._tracker.log(points)
