"""Optimizers of fine-tuning behind one registry."""

from __future__ import annotations

from roadwork.training.optimizers.registry import OPTIMIZERS, OptimizerInfo, set_mode

__all__ = ["OPTIMIZERS", "OptimizerInfo", "set_mode"]
