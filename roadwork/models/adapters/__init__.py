"""Adapters: which weights are trained, and how they return into plain weights."""

from __future__ import annotations

from roadwork.models.adapters.explora import explora_parameters, last_block
from roadwork.models.adapters.files import load_adapter, save_adapter
from roadwork.models.adapters.injection import add_lora, inject, merge_lora
from roadwork.models.adapters.registry import ADAPTERS, AdapterInfo
from roadwork.models.adapters.trainable import (
    freeze_batch_statistics,
    restore_trainable,
    trainable,
    trainable_state,
)

__all__ = [
    "ADAPTERS",
    "AdapterInfo",
    "add_lora",
    "explora_parameters",
    "freeze_batch_statistics",
    "inject",
    "last_block",
    "load_adapter",
    "merge_lora",
    "restore_trainable",
    "save_adapter",
    "trainable",
    "trainable_state",
]
