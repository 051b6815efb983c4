"""Options of Lightning's trainer that would change what a run learns or how passes are judged.

On the command line every option of the trainer can be given. Most decide where and how a run is
computed. Those here would go against what the run has planned from our settings, without an error:
steps of which the schedule does not know, or passes that are judged on a part of the selection set,
or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from roadwork.errors import ConfigError

__all__ = ["require_planned"]


@dataclass(frozen=True)
class _Planned:
    """An option, the values of it that change nothing, and what to use in its place."""

    harmless: Callable[[Any], bool]
    instead: str


def _all(value: Any) -> bool:
    """A share of one; the whole number 1 is one batch."""
    return value is None or (isinstance(value, float) and value == 1.0)


_DATA = "data.images says what is trained on (sources and their numbers of images)"
_SELECTION = "every pass is judged once, at its end, on the whole selection set; split sizes it"

_PLANNED: Mapping[str, _Planned] = {
    "accumulate_grad_batches": _Planned(
        lambda value: value == 1, "model.compute.accumulate computes a batch in parts"
    ),
    "limit_train_batches": _Planned(_all, _DATA),
    "overfit_batches": _Planned(lambda value: not value, _DATA),
    "fast_dev_run": _Planned(lambda value: not value, f"--trainer.max_epochs 1, and {_DATA}"),
    "limit_val_batches": _Planned(_all, _SELECTION),
    "num_sanity_val_steps": _Planned(lambda value: value == 0, _SELECTION),
    "check_val_every_n_epoch": _Planned(lambda value: value == 1, _SELECTION),
    "val_check_interval": _Planned(_all, _SELECTION),
    "gradient_clip_algorithm": _Planned(
        lambda value: value in (None, "norm"), "gradients are clipped to gradient_clip_val by norm"
    ),
}


def require_planned(given: Mapping[str, Any]) -> None:
    """Refuse options of the trainer that a run cannot be planned with.

    Args:
        given: options by name; those that are absent have harmless defaults.

    Raises:
        ConfigError: naming the option, and what to use in its place.
    """
    for name, planned in _PLANNED.items():
        if name in given and not planned.harmless(given[name]):
            raise ConfigError(
                f"--trainer.{name} {given[name]} would change what is learned or chosen behind the "
                f"settings' back: leave it out; {planned.instead}"
            )
