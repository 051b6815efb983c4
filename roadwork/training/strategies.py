"""Strategies: how Lightning trains with one process, or with several that share the work."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from lightning.pytorch.plugins.environments import TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from roadwork.errors import ConfigError
from roadwork.models.sharding import cut_like, whole
from roadwork.training.processes import Group

__all__ = ["Shardable", "trainer_arguments"]


@runtime_checkable
class Shardable(Protocol):
    """A Lightning module that knows which of its parts can be cut."""

    def shard(self, mesh: DeviceMesh) -> None:
        """Cut the weights of all parts that train; called once, before optimizers are made."""
        ...


class _Ddp(DDPStrategy):
    """Every process has all weights; gradients are averaged.

    Buffers are not sent around: whatever moves them sees the whole batch in every process.
    """

    def __init__(self) -> None:
        # Newer releases of PyTorch have another name for it.
        known = inspect.signature(DistributedDataParallel).parameters
        key = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
        wrapper: dict[str, Any] = {key: False, "find_unused_parameters": False}
        super().__init__(cluster_environment=TorchElasticEnvironment(), **wrapper)


class _Fsdp(DDPStrategy):
    """Every process has a part of each weight. Checkpoints are those of a single process."""

    def __init__(self) -> None:
        super().__init__(cluster_environment=TorchElasticEnvironment())

    def model_to_device(self) -> None:
        """Only after the weights are cut."""

    def configure_ddp(self) -> None:
        """Cut the weights, in the place of Lightning's wrapper."""
        module = self.lightning_module
        assert module is not None
        if not isinstance(module, Shardable):
            raise ConfigError(
                "compute.strategy: fsdp cannot cut the weights of this training: use ddp"
            )
        module.shard(init_device_mesh(self.root_device.type, (self.world_size,)))
        module.to(self.root_device)

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Whole weights; they are loaded again before they are cut."""
        return whole(super().lightning_module_state_dict())

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """The state that the optimizer of a single process would have."""
        return whole(super().optimizer_state(optimizer))

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Take each process's part of such a state."""
        for optimizer, saved in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            state = {
                number: {name: cut_like(value, parameters[number]) for name, value in part.items()}
                for number, part in saved["state"].items()
            }
            optimizer.load_state_dict({**saved, "state": state})


_STRATEGIES = {"ddp": _Ddp, "fsdp": _Fsdp}


def trainer_arguments(group: Group, strategy: str) -> dict[str, Any]:
    """What Lightning's ``Trainer`` is told of devices and processes."""
    if not group.shared:
        return {"accelerator": "auto", "devices": 1}
    return {
        # Processes meet on CUDA or on the CPU alone (:func:`roadwork.training.processes.join`).
        "accelerator": "cuda" if torch.cuda.is_available() else "cpu",
        "devices": group.local_world,
        "num_nodes": group.world // group.local_world,
        "strategy": _STRATEGIES[strategy](),
        "use_distributed_sampler": False,
    }
