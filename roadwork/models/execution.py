"""Execution: how training computes a backbone, without a say in what the weights mean."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn

from roadwork.models.attention import attention_backend, choose_attention
from roadwork.models.compilation import compiled
from roadwork.settings import ComputeSettings

__all__ = ["execution"]


@contextlib.contextmanager
def execution(network: nn.Module, settings: ComputeSettings) -> Iterator[dict[str, object]]:
    """Train a backbone as the settings say; afterwards it is plain again, with its new weights.

    Enter it when the adapters are on, and leave it before they are merged.

    Args:
        network: the backbone's module.
        settings: attention, compilation and precision.

    Yields:
        What was chosen, for the run's record.

    Raises:
        ConfigError: this machine or this network cannot compute so.
    """
    choice = choose_attention(settings.attention, network, settings.precision)
    with attention_backend(choice, network), compiled(network, settings.compile):
        yield {
            "attention": choice.record(),
            "compile": settings.compile,
            "precision": settings.precision,
        }
