"""A classifier with tiles, fitted on small pictures, and settings of a cascade on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from roadwork.data.splits import Splits
from roadwork.models.classifier import Classifier
from roadwork.settings import Settings
from roadwork.training.finetune import finetune
from tests.training.made_photos import NAME, SIZE, small_backbone, small_settings

BACKBONE = {"name": NAME, "weights": "random", "image_size": SIZE, "views": {"tiles": 9}}
# Three groups of the conformal set: (1 - 0.6)^3 = 0.064 without harm.
CASCADE: dict[str, Any] = {
    "enabled": True,
    "objective": "two_sided",
    "held_back": 0.3,
    "epochs": 3,
    "batch_size": 5,
    "learning_rate": 0.05,
    "max_accuracy_loss": 0.6,
    "max_recall_loss": 0.6,
}


def cascade_settings(**changes: Any) -> Settings:
    return small_settings(backbone=BACKBONE, finetune={"epochs": 0}, cascade={**CASCADE, **changes})


def classifier_of(sets: Splits, folder: Path) -> Classifier:
    """The probe, which is a fitted classifier like any other."""
    settings = cascade_settings()
    return finetune(small_backbone(settings), sets.train, sets.select, settings, folder).classifier
