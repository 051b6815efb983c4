"""Adapters on disk: the trained weights alone, with the record of what they belong to.

PEFT's own loader gives back a plain LoRA where it does not know the kind, with a warning that is
easily missed. Ours refuses whatever does not match exactly, the weights beneath included, and then
leaves the network as it was.
"""

from __future__ import annotations

from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from roadwork.errors import BundleError
from roadwork.models.adapters.injection import remove_lora
from roadwork.models.adapters.registry import ADAPTERS
from roadwork.models.adapters.trainable import trainable
from roadwork.models.backbone import state_hash

__all__ = ["AdapterRecord", "load_adapter", "save_adapter"]


class AdapterRecord(BaseModel):
    """What an adapter file belongs to.

    Attributes:
        adapter: its kind, a key of ``ADAPTERS``.
        backbone: name in the registry.
        weights: ``state_hash`` of the plain backbone that it was trained on.
        rank: of the update.
        alpha: the update is scaled by ``alpha / rank``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    adapter: str
    backbone: str
    weights: str
    rank: int = Field(ge=1)
    alpha: int = Field(ge=1)


def save_adapter(network: nn.Module, record: AdapterRecord, folder: Path) -> None:
    """Write ``adapter.json`` and ``adapter.safetensors`` of a network that is not merged yet."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter.json").write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
    weights = {name: p.detach().cpu().contiguous() for name, p in trainable(network)}
    save_file(weights, folder / "adapter.safetensors")


def load_adapter(network: nn.Module, backbone: str, folder: Path) -> AdapterRecord:
    """Put a saved adapter on a plain backbone, in place.

    Args:
        network: the backbone's module, with the weights that the adapter was trained on; where
            something is refused, it stays as it is.
        backbone: its name in the registry.
        folder: what :func:`save_adapter` wrote.

    Raises:
        BundleError: a file is missing or damaged, or belongs to another backbone, to other weights
            of it, or to another kind.
    """
    try:
        text = (folder / "adapter.json").read_text(encoding="utf-8")
        record = AdapterRecord.model_validate_json(text)
        weights = load_file(folder / "adapter.safetensors")
    except (OSError, ValidationError, SafetensorError) as error:
        raise BundleError(f"the adapter in {folder} cannot be read: {error}") from None
    if record.backbone != backbone:
        raise BundleError(
            f"the adapter in {folder} is for {record.backbone}, not for {backbone}: choose the "
            "backbone that it was trained on"
        )
    if record.adapter not in ADAPTERS:
        raise BundleError(
            f"the adapter in {folder} is of the kind {record.adapter!r}, which this version does "
            f"not know; known are {', '.join(ADAPTERS)}"
        )
    if record.weights != state_hash(network.state_dict()):
        raise BundleError(
            f"the adapter in {folder} was trained on other weights of {backbone}: load those first"
        )
    trained = [parameter.requires_grad for parameter in network.parameters()]
    ADAPTERS[record.adapter].prepare(network, backbone, record.rank, record.alpha)
    due = dict(trainable(network))
    if set(due) != set(weights) or any(due[n].shape != weights[n].shape for n in due):
        remove_lora(network)
        for parameter, before in zip(network.parameters(), trained, strict=True):
            parameter.requires_grad_(before)
        odd = sorted(set(due) ^ set(weights)) or ["their shapes"]
        raise BundleError(
            f"the weights in {folder} are not those of {record.adapter} with rank {record.rank} on "
            f"{backbone}: {', '.join(odd[:3])} differ"
        )
    with torch.no_grad():
        for name, parameter in due.items():
            parameter.copy_(weights[name])
    return record
