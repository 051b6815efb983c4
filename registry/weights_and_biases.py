"""A copy of a run in Weights & Biases, under the names that MLflow has.

Nothing is sent in the mode ``offline``: the run is written into a folder, which ``wandb sync``
sends later. A step counter goes with every row, because pretraining and fine-tuning both count
from 0: ``pretrain/…`` is drawn over ``pretrain/step``, ``train/…`` over ``train/step``.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from roadwork.environment import silence_telemetry
from roadwork.errors import ConfigError
from roadwork.settings import TrackSettings
from roadwork.training.curves import Point

__all__ = ["WandbRun", "require_wandb", "wants_wandb"]

logger = logging.getLogger(__name__)


def wants_wandb(track: TrackSettings) -> bool:
    """Whether resolved settings ask for a copy."""
    return track.wandb in ("offline", "online")


def require_wandb(track: TrackSettings) -> None:
    """Check early that the package is there if it is wanted.

    Raises:
        ConfigError: it is not.
    """
    if wants_wandb(track) and importlib.util.find_spec("wandb") is None:
        raise ConfigError(
            f"track.wandb is {track.wandb}, but the package wandb is not installed: pip install "
            '"roadwork[track]", or set track.wandb to off'
        )


class WandbRun:
    """One run; several processes may write to it one after the other.

    A small file in the folder keeps how far each curve was told, so that a process that comes
    later, on the same disk, tells the rest alone.
    """

    def __init__(
        self,
        track: TrackSettings,
        folder: Path,
        identity: str,
        name: str,
        config: Mapping[str, Any],
    ) -> None:
        """Open the run, or go on with it.

        Args:
            track: resolved settings; not ``off``.
            folder: receives what is written.
            identity: of the run: letters, digits and hyphens.
            name: of a new run.
            config: parameters by name.

        Raises:
            ConfigError: the package is missing.
        """
        require_wandb(track)
        silence_telemetry()
        import wandb

        folder.mkdir(parents=True, exist_ok=True)
        self._artifact = wandb.Artifact
        self._told = folder / f"{identity}.json"
        self._steps: dict[str, int] = {}
        if self._told.is_file():
            self._steps = json.loads(self._told.read_text(encoding="utf-8"))
        self._axes: set[str] = set()
        self._run = wandb.init(
            project=track.project,
            id=identity,
            name=name,
            resume="allow",
            mode=track.wandb,  # pyright: ignore[reportArgumentType]
            dir=str(folder),
            # The console and the code are the pipeline's, not this process's to send.
            settings=wandb.Settings(
                console="off", silent=True, disable_git=True, disable_code=True
            ),
        )
        self._run.config.update(dict(config), allow_val_change=True)

    def log(self, points: Sequence[Point]) -> None:
        """Tell the points that were not told before, one row for each step."""
        fresh = [point for point in points if point.step > self._steps.get(point.name, -1)]
        fresh.sort(key=lambda point: (_prefix(point.name), point.step))
        rows = itertools.groupby(fresh, key=lambda point: (_prefix(point.name), point.step))
        for (prefix, step), found in rows:
            axis = f"{prefix}/step"
            if axis not in self._axes:
                self._axes.add(axis)
                self._run.define_metric(axis, hidden=True)
                self._run.define_metric(f"{prefix}/*", step_metric=axis)
            row = {point.name: point.value for point in found}
            self._run.log({**row, axis: step})
            self._steps |= dict.fromkeys(row, step)
        if fresh:
            self._told.write_text(json.dumps(self._steps, sort_keys=True), encoding="utf-8")

    def complete(
        self, config: Mapping[str, Any], metrics: Mapping[str, float], files: Path, kind: str
    ) -> None:
        """Add parameters, the final figures and the files of a folder as one artifact."""
        self._run.config.update(dict(config), allow_val_change=True)
        self._run.summary.update(dict(metrics))
        artifact = self._artifact(f"{kind}-{self._run.id}", type=kind)
        for path in sorted(files.iterdir()):
            artifact.add_file(str(path), path.name)
        self._run.log_artifact(artifact)

    def close(self) -> None:
        """Flush; another process can go on with the run."""
        self._run.finish()


def _prefix(name: str) -> str:
    return name.partition("/")[0]
