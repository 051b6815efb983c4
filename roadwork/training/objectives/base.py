"""What every objective shares: what it sees of a step, what it is built from, what it reports."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from roadwork.settings import FinetuneSettings, LossSettings
from roadwork.training.strata import Strata

__all__ = ["LabelLossInfo", "Objective", "ObjectiveContext", "ObjectiveInfo", "Step"]


@dataclass(frozen=True)
class Step:
    """One batch as an objective sees it.

    Attributes:
        features: (B, W) aggregated features, with gradient.
        labels: (B,) classes.
        domains: (B,) index of each row's source.
        losses: (B,) loss of each row's label, with gradient.
        progress: share of all training steps that are done, in [0, 1).
    """

    features: Tensor
    labels: Tensor
    domains: Tensor
    losses: Tensor
    progress: float


class Objective(nn.Module, ABC):
    """Turns the losses of a batch's rows into the one number that is minimised.

    What it learns lives in parameters and buffers, and so in every checkpoint.
    """

    @abstractmethod
    def forward(self, step: Step) -> Tensor:
        """The loss, a tensor without axes."""

    def report(self) -> dict[str, float]:
        """Figures of the pass that ends, by name; counting starts anew."""
        return {}


@dataclass(frozen=True)
class ObjectiveContext:
    """What an objective may be built from.

    Attributes:
        settings: of fine-tuning.
        strata: sources and labels of the training rows.
        drawn: (D, K) expected share of a pass from each source and label.
        width: W, the length of the features.
    """

    settings: FinetuneSettings
    strata: Strata
    drawn: NDArray[np.float64]
    width: int


@dataclass(frozen=True)
class ObjectiveInfo:
    """One objective.

    Attributes:
        title: for people.
        build: makes it.
        balance: how a pass is sampled where the settings do not say.
        needs_sources: it compares sources, and means nothing with one alone.
        reference: where it is defined.
    """

    title: str
    build: Callable[[ObjectiveContext], Objective]
    balance: Literal["none", "class", "source", "source_and_class"]
    needs_sources: bool
    reference: str


@dataclass(frozen=True)
class LabelLossInfo:
    """One loss of labels: ``build(settings)`` takes logits (B, K) and labels (B,), gives (B,)."""

    title: str
    build: Callable[[LossSettings], nn.Module]
    reference: str
