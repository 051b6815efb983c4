"""The ways to train a backbone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from peft import LoraConfig
from torch import nn

from roadwork.models.adapters.doran import add_doran
from roadwork.models.adapters.injection import add_lora, inject, merge_lora

__all__ = ["ADAPTERS", "AdapterInfo"]


@dataclass(frozen=True)
class AdapterInfo:
    """One way to train a backbone.

    Attributes:
        title: for people.
        prepare: sets which parameters train, given the network, the backbone's name, rank and
            alpha; returns the adapted layers' names.
        merge: makes the weights plain again.
    """

    title: str
    prepare: Callable[[nn.Module, str, int, int], list[str]]
    merge: Callable[[nn.Module], None]


def _dora(network: nn.Module, backbone: str, rank: int, alpha: int) -> list[str]:
    return inject(network, backbone, LoraConfig(r=rank, lora_alpha=alpha, use_dora=True))


def _full(network: nn.Module, backbone: str, rank: int, alpha: int) -> list[str]:
    network.requires_grad_(True)
    return []


def _none(network: nn.Module, backbone: str, rank: int, alpha: int) -> list[str]:
    network.requires_grad_(False)
    return []


def _leave(network: nn.Module) -> None:
    network.requires_grad_(True)


ADAPTERS: Mapping[str, AdapterInfo] = {
    "lora": AdapterInfo("LoRA", add_lora, merge_lora),
    "dora": AdapterInfo("DoRA", _dora, merge_lora),
    "doran_tau": AdapterInfo("DoRAN (tau)", partial(add_doran, shared=False), merge_lora),
    "doran_full": AdapterInfo("DoRAN", partial(add_doran, shared=True), merge_lora),
    "full": AdapterInfo("all weights", _full, _leave),
    "none": AdapterInfo("frozen backbone", _none, _leave),
}
