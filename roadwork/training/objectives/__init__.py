"""Objectives: what training minimises.

Two registries, one for each question. ``LABEL_LOSSES``: how wrong is the answer for one row?
``OBJECTIVES``: how do the rows of several sources become one number?
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from torch import nn

from roadwork.errors import ConfigError
from roadwork.settings import LossSettings
from roadwork.training.objectives.base import (
    LabelLossInfo,
    Objective,
    ObjectiveContext,
    ObjectiveInfo,
    Step,
)
from roadwork.training.objectives.dann import conditional_dann, dann
from roadwork.training.objectives.empirical import EmpiricalRisk
from roadwork.training.objectives.focal import FocalLoss
from roadwork.training.objectives.gatekeeper import GatekeeperLoss
from roadwork.training.objectives.group_dro import GroupDro
from roadwork.training.strata import Strata

__all__ = [
    "LABEL_LOSSES",
    "OBJECTIVES",
    "LabelLossInfo",
    "Objective",
    "ObjectiveContext",
    "ObjectiveInfo",
    "Step",
    "require_sources",
]


def _cross_entropy(settings: LossSettings) -> nn.Module:
    return nn.CrossEntropyLoss(label_smoothing=settings.label_smoothing, reduction="none")


def _focal(settings: LossSettings) -> nn.Module:
    return FocalLoss(settings.gamma)


def _gatekeeper(settings: LossSettings) -> nn.Module:
    return GatekeeperLoss(settings.alpha)


LABEL_LOSSES: Mapping[str, LabelLossInfo] = MappingProxyType(
    {
        "cross_entropy": LabelLossInfo(
            "cross-entropy", _cross_entropy, "label smoothing: Szegedy et al., arXiv 1512.00567"
        ),
        "focal": LabelLossInfo("focal loss", _focal, "Lin et al., ICCV 2017, arXiv 1708.02002"),
        "gatekeeper": LabelLossInfo(
            "Gatekeeper", _gatekeeper, "Rabanser et al., NeurIPS 2025, arXiv 2502.19335"
        ),
    }
)

OBJECTIVES: Mapping[str, ObjectiveInfo] = MappingProxyType(
    {
        "none": ObjectiveInfo(
            "empirical risk", EmpiricalRisk, "none", needs_sources=False, reference="none"
        ),
        "dann": ObjectiveInfo(
            "DANN",
            dann,
            "source",
            needs_sources=True,
            reference="Ganin et al., JMLR 17(59), 2016, arXiv 1505.07818",
        ),
        "cdann": ObjectiveInfo(
            "class-conditional DANN",
            conditional_dann,
            "source",
            needs_sources=True,
            reference="Li et al., ECCV 2018 (conditional invariant adversarial networks)",
        ),
        "group_dro": ObjectiveInfo(
            "group DRO",
            GroupDro,
            "source_and_class",
            needs_sources=True,
            reference="Sagawa et al., ICLR 2020, arXiv 1911.08731",
        ),
    }
)
"""By ``finetune.domain.method``."""


def require_sources(method: str, strata: Strata) -> None:
    """Refuse a method that compares sources on data of one source.

    Raises:
        ConfigError: naming the one source.
    """
    if OBJECTIVES[method].needs_sources and len(strata.sources) < 2:
        raise ConfigError(
            f"finetune.domain.method: {method} compares sources, but all {len(strata.labels)} "
            f"training images come from {', '.join(strata.sources)}: use "
            "method: none, or add a source"
        )
