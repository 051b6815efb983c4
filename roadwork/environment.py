"""Every environment variable that roadwork reads, in one typed table."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from roadwork.errors import ConfigError

__all__ = [
    "TELEMETRY_OFF",
    "WANDB_KEY",
    "WANDB_MODE",
    "Environment",
    "WandbMode",
    "has_wandb_key",
    "silence_telemetry",
    "wandb_mode",
]


class Environment(BaseSettings):
    """``ROADWORK_*`` variables; an unset one keeps its default. Secrets are never stored here."""

    model_config = SettingsConfigDict(env_prefix="ROADWORK_", frozen=True, env_ignore_empty=True)

    data: str | None = Field(
        default=None,
        description="Folder or address of image_folder's images; other sources look in a "
        "sub-folder named as their kind.",
    )
    runs: Path = Field(default=Path("runs"), description="Folder that receives all outputs.")
    mlflow_uri: str | None = Field(
        default=None,
        description="MLflow tracking and registry; default: SQLite in the runs folder.",
    )
    mlflow_artifacts: str | None = Field(
        default=None, description="Where MLflow keeps artifacts; default: the runs folder."
    )
    bundle: str = Field(
        default="champion", description="Bundle that the service serves: an alias or a folder."
    )
    engine: str = Field(
        default="auto", description="Engine that answers: auto, openvino, onnxruntime."
    )
    threads: int = Field(
        default=0, ge=0, description="CPU threads of training and engines; 0: all."
    )
    offline: bool = Field(
        default=True, description="Never ask a model hub; false allows weights: hub."
    )


TELEMETRY_OFF: dict[str, str] = {
    "BENTOML_DO_NOT_TRACK": "True",
    "DO_NOT_TRACK": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "OPENVINO_TELEMETRY_OPT_IN": "0",
    "WANDB_ERROR_REPORTING": "false",
    "ZENML_ANALYTICS_OPT_IN": "false",
}
"""Variables that switch off the usage reports of the libraries beneath us."""


def silence_telemetry() -> None:
    """Switch off usage reports in this process, unless the user has set the variable."""
    for name, value in TELEMETRY_OFF.items():
        os.environ.setdefault(name, value)


WandbMode = Literal["off", "offline", "online"]
WANDB_KEY = "WANDB_API_KEY"
WANDB_MODE = "WANDB_MODE"
_MODES: dict[str, WandbMode] = {
    "disabled": "off",
    "dryrun": "offline",
    "offline": "offline",
    "online": "online",
    "run": "online",
}


def has_wandb_key() -> bool:
    """Whether Weights & Biases can be told anything at all; the key itself is not read here."""
    return bool(os.environ.get(WANDB_KEY))


def wandb_mode() -> WandbMode:
    """What the variables of Weights & Biases ask for: ``WANDB_MODE``; else online with a key.

    Raises:
        ConfigError: ``WANDB_MODE`` is no mode.
    """
    named = os.environ.get(WANDB_MODE)
    if not named:
        return "online" if has_wandb_key() else "off"
    if named not in _MODES:
        raise ConfigError(
            f"the environment variable {WANDB_MODE} is {named!r}: set it to online, offline or "
            "disabled, or unset it"
        )
    return _MODES[named]
