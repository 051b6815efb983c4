"""PyTorch on the CPU: the network that was evaluated, for machines that train anyway."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roadwork.bundle import ModelBundle
from roadwork.engines.base import Availability, EngineInfo, Logits, Views, one_by_one
from roadwork.engines.base import package_available as installed

if TYPE_CHECKING:
    from torch import nn

__all__ = ["TORCH", "TorchEngine"]


class TorchEngine:
    """A module that takes views and gives logits, in eval mode."""

    name = "torch"

    def __init__(self, network: nn.Module, threads: int = 0) -> None:
        """Wrap a network; a number of threads other than 0 is set for the whole process."""
        import torch

        if threads:
            torch.set_num_threads(threads)
        self._network = network.eval()

    def run(self, views: Views) -> Logits:
        """Logits (N, K) of views (N, V, S, S, 3)."""
        return one_by_one(views, self._run_one)

    def _run_one(self, views: Views) -> Logits:
        import torch

        with torch.inference_mode():
            return self._network(torch.from_numpy(views)).float().numpy()


def _available() -> Availability:
    for package in ("torch", "timm", "safetensors"):
        found = installed(package, "train")
        if not found.usable:
            return found
    return Availability(True, "the packages torch, timm and safetensors are installed")


def _open(bundle: ModelBundle, threads: int) -> TorchEngine:
    from safetensors.torch import load

    from roadwork.models.classifier import ClassifierSpec, build_classifier_network

    spec = ClassifierSpec.model_validate(bundle.config.architecture)
    network = build_classifier_network(spec)
    network.load_state_dict(load(bundle.read("model.safetensors")), strict=True)
    return TorchEngine(network, threads)


TORCH = EngineInfo("torch", "PyTorch, CPU, float32", _available, _open)
