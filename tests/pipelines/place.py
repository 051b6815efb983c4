"""A user's own ZenML store and runs folder, and the literal command in it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = {
    "name": "small",
    "data": {"sources": [{"kind": "synthetic", "drives": 36, "min_frames": 4, "max_frames": 5}]},
    "backbone": {"name": "vit_pico_patch16_dinov3", "image_size": 32},
    "pretrain": {"epochs": 1, "batch_size": 32, "rank": 4, "prototypes": 32, "hidden": 64},
    "finetune": {"adapter": "lora", "epochs": 3, "batch_size": 8},
    "compute": {"checkpoint_every": 2},
    "evaluate": {"bootstrap": 100, "worst": 2},
    "export": {"golden": 4, "max_probability_difference": 1e-4},
    "deploy": {"build": False},
}


@dataclass(frozen=True)
class Place:
    """A user's own ZenML store and runs folder."""

    folder: Path
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "ZENML_CONFIG_PATH": str(self.folder / "zenml"),
            "ZENML_REPOSITORY_PATH": str(self.folder),
            "ZENML_LOGGING_VERBOSITY": "INFO",
            "OMP_NUM_THREADS": "1",
            "NO_COLOR": "1",
            **self.variables,
        }

    def command(self, **changes: object) -> list[str]:
        config = self.folder / "settings.yaml"
        tree = {**SETTINGS, "runs": str(self.runs), **changes}
        config.write_text(yaml.safe_dump({"parameters": {"settings": tree}}))
        zenml = str(Path(sys.executable).with_name("zenml"))
        return [zenml, "pipeline", "run", "training_pipeline", "--config", str(config)]

    def start(self, **changes: object) -> subprocess.Popen[str]:
        self.folder.mkdir(parents=True, exist_ok=True)
        zenml = str(Path(sys.executable).with_name("zenml"))
        if not (self.folder / ".zen").exists():
            subprocess.run(
                [zenml, "init"], cwd=self.folder, env=self.environment, check=True, timeout=120
            )
        return subprocess.Popen(
            self.command(**changes),
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, **changes: object) -> str:
        process = self.start(**changes)
        output, _ = process.communicate(timeout=600)
        assert process.returncode == 0, output[-6000:]
        return re.sub(r"\x1b\[[0-9;]*m", "", output)

    def metrics(self) -> bytes:
        (path,) = (self.runs / "reports").glob("*.metrics.json")
        return path.read_bytes()
