"""The size dial, and how it and the environment fill in what is left ``auto``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from roadwork.environment import Environment, has_wandb_key, wandb_mode
from roadwork.errors import ConfigError
from roadwork.settings.data import ImageFolderSource, Source, SyntheticSource
from roadwork.settings.reading import parse_settings
from roadwork.settings.tree import Settings

__all__ = ["SIZES", "SizeInfo", "resolve"]


@dataclass(frozen=True)
class SizeInfo:
    """What one position of the size dial stands for."""

    backbone: str
    image_size: int
    pretrain_epochs: int
    pretrain_batch: int
    finetune_epochs: int
    finetune_batch: int
    learning_rate: float


SIZES: Mapping[str, SizeInfo] = {
    "tiny": SizeInfo("tf_efficientnet_lite0", 96, 2, 64, 3, 8, 2e-3),
    "small": SizeInfo("vit_small_patch16_dinov3", 224, 10, 64, 10, 16, 5e-4),
    "base": SizeInfo("vit_base_patch16_dinov3", 224, 20, 128, 10, 32, 3e-4),
    "large": SizeInfo("vit_large_patch16_dinov3", 224, 20, 128, 10, 32, 2e-4),
}


def resolve(settings: Settings, environment: Environment | None = None) -> Settings:
    """Fill every ``auto`` and every path from the environment; the result holds no ``auto``.

    Raises:
        ConfigError: a source without a folder, or a backbone that cannot have these weights.
    """
    environment = environment or Environment()
    size = SIZES[settings.size]
    tree = settings.model_dump(mode="python")
    tree["data"]["sources"] = list(tree["data"]["sources"])
    if settings.runs is None:
        tree["runs"] = environment.runs
    for number, source in enumerate(settings.data.sources):
        tree["data"]["sources"][number] = _located(source, number, environment).model_dump()
    backbone, pretrain, finetune = tree["backbone"], tree["pretrain"], tree["finetune"]
    chosen = backbone["name"] == "auto"
    backbone["name"] = size.backbone if chosen else backbone["name"]
    convolutional = not backbone["name"].startswith("vit_")
    if backbone["weights"] == "auto":
        # No weights are published for the tiny form of the transformer.
        transformer = "random" if settings.size == "tiny" else "hub"
        backbone["weights"] = "package" if convolutional else transformer
    if backbone["weights"] == "package" and backbone["name"] != "tf_efficientnet_lite0":
        raise ConfigError(
            f"backbone.weights: package exists for tf_efficientnet_lite0 alone, not for "
            f"{backbone['name']}: name that backbone, or a vit_*_patch16_dinov3 with weights: "
            "local, hub or random"
        )
    if backbone["image_size"] == "auto":
        backbone["image_size"] = size.image_size
    if not convolutional and backbone["image_size"] % 16:
        raise ConfigError(
            f"backbone.image_size {backbone['image_size']} is no multiple of the patch size 16: "
            f"use {backbone['image_size'] // 16 * 16}"
        )
    _fill(pretrain, "epochs", size.pretrain_epochs)
    _fill(pretrain, "batch_size", size.pretrain_batch)
    random = backbone["weights"] == "random"
    _fill(finetune, "adapter", "full" if random else "lora")
    _fill(finetune, "epochs", size.finetune_epochs)
    _fill(finetune, "batch_size", size.finetune_batch)
    _fill(finetune, "learning_rate", size.learning_rate)
    _fill(tree["compute"], "precision", "32")
    track = tree["track"]
    if track["wandb"] == "auto":
        track["wandb"] = wandb_mode()
    if track["wandb"] == "online" and not has_wandb_key():
        raise ConfigError(
            "track.wandb (or WANDB_MODE) is online, but the environment variable WANDB_API_KEY is "
            "empty: set it, or choose offline or off"
        )
    return parse_settings(tree)


def _located(source: Source, number: int, environment: Environment) -> Source:
    """The source with its root: given, or ROADWORK_DATA (and in it a folder named as the kind)."""
    if isinstance(source, SyntheticSource) or source.root is not None:
        return source
    if environment.data is None:
        raise ConfigError(
            f"data.sources.{number}.root ({source.kind}) is not set and the environment variable "
            "ROADWORK_DATA is empty: set one of them to the folder that holds the images"
        )
    root = environment.data.rstrip("/")
    if not isinstance(source, ImageFolderSource):
        root = f"{root}/{source.kind}"
    return source.model_copy(update={"root": root})


def _fill(part: dict[str, Any], key: str, value: Any) -> None:
    if part[key] == "auto":
        part[key] = value
