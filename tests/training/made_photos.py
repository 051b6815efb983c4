"""A backbone of two blocks, and a few small pictures on disk, for tests of training."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from roadwork.data.splits import Splits
from roadwork.models.backbone import Backbone, BackboneInfo, load_backbone
from roadwork.settings import Settings, parse_settings, resolve
from tests.data import made

NAME = "vit_two_patch16_dinov3"
INFO = BackboneInfo(
    "vit_small_patch16_dinov3",
    transformer=True,
    arguments={"embed_dim": 48, "depth": 2, "num_heads": 3},
    licence="none: random weights",
)
SIZE = 32


def write_photo(path: Path, number: int, label: int) -> None:
    """A noisy picture; that of class 1 tends towards orange, with exceptions."""
    rng = np.random.default_rng(number)
    tint = np.array([40, 10, -30]) * (label if number % 5 else 1 - label)
    pixels = rng.normal(110, 35, (36, 48, 3)) + rng.normal(0, 20, 3) + tint
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)


def photo_rows(folder: Path, numbers: range) -> list[dict[str, Any]]:
    """Rows of the manifest with a picture behind each, in groups of four."""
    rows = []
    for number in numbers:
        path = folder / f"{number}.png"
        write_photo(path, number, number % 2)
        rows.append(made.row(number, uri=str(path), file=path.name))
    return rows


def photo_sets(folder: Path) -> Splits:
    """Five sets: 20 pictures to train on, 12 in each of the others."""
    starts = [0, 20, 32, 44, 56, 68]
    return made.splits([photo_rows(folder, range(a, b)) for a, b in pairwise(starts)])


def small_settings(**changes: Any) -> Settings:
    """Resolved settings of the smallest run; ``changes`` replace keys of whole parts."""
    parts: dict[str, dict[str, Any]] = {
        "data": {"workers": 1},
        "backbone": {
            "name": NAME,
            "weights": "random",
            "image_size": SIZE,
            "views": {"tiles": 0},
        },
        "pretrain": {
            "epochs": 2,
            "batch_size": 5,
            "rank": 2,
            "prototypes": 16,
            "hidden": 24,
            "local_crops": 2,
        },
        "finetune": {
            "epochs": 3,
            "batch_size": 5,
            "rank": 2,
            "alpha": 4,
            "adapter": "lora",
            "learning_rate": 0.01,
        },
        "compute": {"checkpoint_every": 2},
        "evaluate": {"bootstrap": 100, "slices": ["source"], "worst": 2},
    }
    tree: dict[str, Any] = {"name": "small", "seed": 1, "runs": "runs"}
    for key, value in changes.items():
        if isinstance(value, dict):
            parts[key] = {**parts.get(key, {}), **value}
        else:
            tree[key] = value
    return resolve(parse_settings({**tree, **parts}))


def small_backbone(settings: Settings | None = None) -> Backbone:
    """The starting backbone of the settings."""
    settings = settings or small_settings()
    return load_backbone(settings.backbone, settings.seed)
