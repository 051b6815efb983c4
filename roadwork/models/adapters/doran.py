"""DoRAN: LoRA with a learned magnitude, a stabilised norm, and factors from a shared network.

Diep et al., "DoRAN: Stabilizing Weight-Decomposed Low-Rank Adaptation via Noise Injection and
Auxiliary Networks" (2510.04331). With W0 (O, I) frozen, B A the low-rank update (rank r, scale
s = alpha / r) and row norms ``n = ||W0 + s B A||`` (detached, as DoRA does, 2402.09353 §4.3):

    W' = m / (n + tau) * (W0 + s B A),        one magnitude m for each of the O outputs.

``doran_tau`` learns the scalar tau > 0 of every layer (tau -> 0 is DoRA). ``doran_full`` makes the
factors of the layers of one block (queries and values) from a shared part in addition:

    A = gelu(Z_a V_a) U_a,   B = (gelu(Z_b V_b) U_b)^T,   Z and V of the block, U of the layer.

We know the paper from its abstract, captions and reviews, which leave open the form of the
auxiliary network and the start of tau. Ours: ``tau = softplus(rho)`` starts at 1 % of the mean row
norm, ``m`` at ``n + tau`` and ``U_b`` at zero, so that the adapted layer starts as the plain one
exactly.

The norm is never computed from the dense product: with ``G = W0 A^T`` (O, r),
``n^2 = ||W0||^2 + 2 s <G, B> + s^2 rowsum((B A A^T) * B)``, at a cost of O(O I r).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.layer import Conv2d, Linear, LoraVariant
from torch import Tensor, nn
from torch.nn import functional

from roadwork.models.adapters.injection import inject, lora_layers

__all__ = ["DoranConfig", "add_doran", "effective_weight"]

_START_OF_TAU = 0.01


@dataclass
class DoranConfig(LoraConfig):
    """PEFT's configuration with our variant; resolved by the field's metadata."""

    use_doran: bool = field(default=True, metadata={"is_lora_variant": True})


class SharedFactors(nn.Module):
    """What the layers of one block share: Z (r, r) and V (r, r), for A and for B."""

    def __init__(self, rank: int) -> None:
        """Start with random hidden vectors of unit scale."""
        super().__init__()
        self.z_a = nn.Parameter(torch.randn(rank, rank))
        self.v_a = nn.Parameter(torch.randn(rank, rank) / math.sqrt(rank))
        self.z_b = nn.Parameter(torch.randn(rank, rank))
        self.v_b = nn.Parameter(torch.randn(rank, rank) / math.sqrt(rank))

    def hidden(self) -> tuple[Tensor, Tensor]:
        """Hidden vectors (r, r) for A and for B."""
        return functional.gelu(self.z_a @ self.v_a), functional.gelu(self.z_b @ self.v_b)


class Magnitude(nn.Module):
    """The learned part of one layer beside A and B: magnitudes (O,), and rho of tau.

    With :meth:`share` the factors come from a block's shared part instead.
    """

    squared_norm: Tensor

    def __init__(self, weight: Tensor) -> None:
        """Start so that the adapted layer equals the plain one with ``weight`` (O, I)."""
        super().__init__()
        weight = weight.detach().float()
        self.register_buffer("squared_norm", weight.square().sum(dim=1), persistent=False)
        norm = self.squared_norm.sqrt()
        tau = _START_OF_TAU * float(norm.mean())
        self.rho = nn.Parameter(norm.new_tensor(tau + math.log(-math.expm1(-tau))))
        self.weight = nn.Parameter(norm + functional.softplus(self.rho.detach()))
        self.shared: SharedFactors | None = None

    def share(self, shared: SharedFactors, inputs: int) -> None:
        """Take the factors from a block's shared part; B starts at zero."""
        rank, outputs = len(shared.z_a), len(self.weight)
        self.shared = shared
        self.u_a = nn.Parameter(torch.empty(rank, inputs))
        nn.init.kaiming_uniform_(self.u_a, a=math.sqrt(5))
        self.u_b = nn.Parameter(torch.zeros(rank, outputs))

    @property
    def tau(self) -> Tensor:
        """The stabiliser, a positive scalar."""
        return functional.softplus(self.rho)

    def gain(self, weight: Tensor, a: Tensor, b: Tensor, scale: float) -> Tensor:
        """``m / (n + tau)``, (O,), in float32; no gradient flows through the norm."""
        with torch.no_grad(), torch.autocast(weight.device.type, enabled=False):
            a, b = a.float(), b.float()
            cross = ((weight.float() @ a.T) * b).sum(dim=1)
            square = ((b @ (a @ a.T)) * b).sum(dim=1)
            norm = (self.squared_norm + 2 * scale * cross + scale**2 * square).clamp_min(0).sqrt()
        return self.weight / (norm + self.tau)


def _factors(layer: LoraLayer, adapter: str) -> tuple[Tensor, Tensor, Tensor, float, Magnitude]:
    """W0 (O, I), A (r, I), B (O, r), the scale and the magnitude of a layer."""
    weight = layer.get_base_layer().weight.flatten(1)  # pyright: ignore
    magnitude = layer.lora_magnitude_vector[adapter]
    assert isinstance(magnitude, Magnitude)
    if magnitude.shared is None:
        a = layer.lora_A[adapter].weight.flatten(1)  # pyright: ignore
        b = layer.lora_B[adapter].weight.flatten(1)  # pyright: ignore
    else:
        hidden_a, hidden_b = magnitude.shared.hidden()
        a, b = hidden_a @ magnitude.u_a, (hidden_b @ magnitude.u_b).T
    return weight, a, b, float(layer.scaling[adapter]), magnitude


def effective_weight(layer: LoraLayer, adapter: str = "default") -> Tensor:
    """The plain weight that does what the adapted layer does; the shape of the base weight."""
    weight, a, b, scale, magnitude = _factors(layer, adapter)
    gain = magnitude.gain(weight, a, b, scale)
    merged = gain[:, None] * (weight + scale * (b @ a))
    return merged.view_as(layer.get_base_layer().weight)  # pyright: ignore


class _Variant(LoraVariant):
    """How PEFT's layers compute with a :class:`Magnitude`."""

    @staticmethod
    def init(module: Any, adapter_name: str, **_: Any) -> None:
        if not module.lora_magnitude_vector:
            module.adapter_layer_names = (*module.adapter_layer_names, "lora_magnitude_vector")
        weight = module.get_base_layer().weight.flatten(1)
        module.lora_magnitude_vector[adapter_name] = Magnitude(weight)

    @staticmethod
    def forward(module: Any, active_adapter: str, x: Tensor, result: Tensor, **_: Any) -> Tensor:
        weight, a, b, scale, magnitude = _factors(module, active_adapter)
        base = module.get_base_layer()
        gain = magnitude.gain(weight, a, b, scale)
        if isinstance(base, nn.Conv2d):
            a = a.view(-1, *base.weight.shape[1:])
            low = functional.conv2d(x, a, None, base.stride, base.padding, base.dilation)
            update = functional.conv2d(low, b[:, :, None, None])
            gain, bias = (
                gain[:, None, None],
                base.bias[:, None, None] if base.bias is not None else 0,
            )
        else:
            update = functional.linear(functional.linear(x, a), b)
            bias = base.bias if base.bias is not None else 0
        # The magnitude belongs to the weight alone, not to the bias. Written as a change of
        # ``result``, so that a gain of one and an update of zero leave every bit as it was. In 32
        # bits or more: 16 would round a gain that is within 0.2 % of one to one.
        plain = result.to(torch.promote_types(result.dtype, torch.float32))
        change = (gain - 1) * (plain - bias) + gain * (scale * update.to(plain.dtype))
        return (plain + change).to(result.dtype)

    @staticmethod
    def merge_safe(module: Any, active_adapter: str, orig_weight: Tensor) -> Tensor:
        return effective_weight(module, active_adapter).to(orig_weight.dtype)


class _DoranLinear(Linear):
    @property
    def lora_variants(self) -> dict[tuple[str, ...], type[LoraVariant] | None]:
        return {(): None, ("use_doran",): _Variant}


class _DoranConv2d(Conv2d):
    @property
    def lora_variants(self) -> dict[tuple[str, ...], type[LoraVariant] | None]:
        return {(): None, ("use_doran",): _Variant}


def add_doran(network: nn.Module, backbone: str, rank: int, alpha: int, shared: bool) -> list[str]:
    """Freeze a backbone and put DoRAN on it, in place.

    Args:
        network: the backbone's module.
        backbone: its name in the registry, which decides the layers.
        rank: of the update.
        alpha: the update is scaled by ``alpha / rank``.
        shared: ``doran_full`` rather than ``doran_tau``.

    Returns:
        Names of the adapted layers.

    Raises:
        TrainingError: no layer was adapted.
    """
    config = DoranConfig(r=rank, lora_alpha=alpha)
    config._register_custom_module({nn.Linear: _DoranLinear, nn.Conv2d: _DoranConv2d})
    adapted = inject(network, backbone, config)
    if shared:
        blocks: dict[str, SharedFactors] = {}
        for name, layer in lora_layers(network).items():
            block = name.rpartition(".")[0]
            if block not in blocks:
                blocks[block] = SharedFactors(rank)
            magnitude = layer.lora_magnitude_vector["default"]
            assert isinstance(magnitude, Magnitude)
            magnitude.share(blocks[block], layer.get_base_layer().weight[0].numel())  # pyright: ignore
            # Its factors are not used: they must neither train nor count.
            layer.lora_A.requires_grad_(False)
            layer.lora_B.requires_grad_(False)
    return adapted
