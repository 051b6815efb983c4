"""What trains a cascade: both stages' logits and the labels of a batch to one number.

Both heads learn on all images of a batch, never on those alone that the first stage would pass on:
which images these are changes while training, and both stages are judged on all in the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from torch import Tensor
from torch.nn import functional

from roadwork.settings import CascadeSettings
from roadwork.training.objectives.gatekeeper import GatekeeperLoss
from roadwork.training.objectives.lcron import lcron_funnel_loss, two_sided_cascade_loss

__all__ = ["CASCADE_OBJECTIVES", "CascadeObjectiveInfo", "cascade_losses"]


Loss = Callable[[Tensor, Tensor, Tensor, CascadeSettings, Tensor], Tensor]


@dataclass(frozen=True)
class CascadeObjectiveInfo:
    """One objective.

    Attributes:
        title: for people.
        loss: of logits (N, 2) of both stages, labels (N,), the settings and the two log variances.
        after_training: a second phase, for a first stage that was trained by cross-entropy.
        learned_weights: whether the log variances are used, and should be learned with the heads.
        reference: where it is defined.
    """

    title: str
    loss: Loss
    after_training: bool
    learned_weights: bool
    reference: str


def cascade_losses(
    first_logits: Tensor,
    second_logits: Tensor,
    labels: Tensor,
    settings: CascadeSettings,
    log_variances: Tensor | None = None,
) -> Tensor:
    """Loss of a batch, a tensor without axes.

    Args:
        first_logits: (N, 2) of stage 1, on all N images.
        second_logits: (N, 2) of stage 2, on all N images.
        labels: (N,) 0 or 1.
        settings: which objective, and its numbers.
        log_variances: (2,) of LCRON's single-stage terms, a parameter that is learned with the
            heads (see :func:`~roadwork.training.objectives.lcron.lcron_funnel_loss`); None leaves
            both at 0. Other objectives do not use it.

    Raises:
        ValueError: the logits are not of two classes, or not as many as the labels.
    """
    expected = (len(labels), 2)
    if tuple(first_logits.shape) != expected or tuple(second_logits.shape) != expected:
        raise ValueError(
            f"both stages need logits of shape {expected}, but gave {tuple(first_logits.shape)} "
            f"and {tuple(second_logits.shape)}"
        )
    weights = first_logits.new_zeros(2) if log_variances is None else log_variances
    info = CASCADE_OBJECTIVES[settings.objective]
    return info.loss(first_logits.float(), second_logits.float(), labels, settings, weights)


def _both(first: Tensor, second: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(first, labels) + functional.cross_entropy(second, labels)


def _cross_entropy(
    first: Tensor, second: Tensor, labels: Tensor, settings: CascadeSettings, weights: Tensor
) -> Tensor:
    return _both(first, second, labels)


def _gatekeeper(
    first: Tensor, second: Tensor, labels: Tensor, settings: CascadeSettings, weights: Tensor
) -> Tensor:
    tuned = GatekeeperLoss(settings.alpha)(first, labels).mean()
    return tuned + functional.cross_entropy(second, labels)


def _margin(logits: Tensor) -> Tensor:
    """Log odds (N,) of roadwork."""
    return logits[:, 1] - logits[:, 0]


def _lcron(
    first: Tensor, second: Tensor, labels: Tensor, settings: CascadeSettings, weights: Tensor
) -> Tensor:
    # A funnel narrower than its positives would have to learn to drop some of them.
    keep = max(math.ceil(settings.keep * len(labels)), int(labels.sum()))
    funnel = lcron_funnel_loss(_margin(first), _margin(second), labels, keep, weights)
    return funnel + settings.anchor * _both(first, second, labels)


def _two_sided(
    first: Tensor, second: Tensor, labels: Tensor, settings: CascadeSettings, weights: Tensor
) -> Tensor:
    whole = two_sided_cascade_loss(
        _margin(first), _margin(second), labels, settings.low, settings.high
    )
    return whole + settings.anchor * _both(first, second, labels)


CASCADE_OBJECTIVES: Mapping[str, CascadeObjectiveInfo] = MappingProxyType(
    {
        "ce": CascadeObjectiveInfo(
            "cross-entropy of both stages", _cross_entropy, False, False, "none"
        ),
        "gatekeeper": CascadeObjectiveInfo(
            "Gatekeeper on stage 1, cross-entropy on stage 2",
            _gatekeeper,
            True,
            False,
            "Rabanser et al., NeurIPS 2025, arXiv 2502.19335",
        ),
        "lcron": CascadeObjectiveInfo(
            "LCRON's funnel, with cross-entropy as an anchor",
            _lcron,
            False,
            True,
            "Wang et al., ICML 2025, arXiv 2503.09492",
        ),
        "two_sided": CascadeObjectiveInfo(
            "cross-entropy of a cascade with soft exits on both sides",
            _two_sided,
            False,
            False,
            "our own; not LCRON",
        ),
    }
)
"""By ``CascadeSettings.objective``."""
