"""The masked forward of a DINOv3 transformer: patches are hidden, and all tokens come out.

A masked patch is replaced by one learned vector before the first block, and attention still sees
its place (BEiT, Bao et al., 2106.08254; iBOT, Zhou et al., 2111.07832). timm leaves out the mask
token of DINOv3's files, so it is a new parameter here and begins at zero. It belongs to
pretraining and never becomes part of the backbone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from roadwork.errors import ConfigError

__all__ = ["PATCH", "MaskedTransformer"]

PATCH = 16
"""Edge of a patch in pixels, of the whole DINOv3 family."""


class MaskedTransformer(nn.Module):
    """A transformer for square pictures of several sizes, some of whose patches may be hidden.

    Without a mask the tokens are those of timm's ``forward_features``, bit for bit.

    Attributes:
        network: timm's module; adapters are put on it and merged into it as ever.
        mask_token: (D,), what stands in the place of a hidden patch.
        prefix: number P of tokens before the patches: class token, then registers.
    """

    def __init__(self, network: nn.Module, sizes: Iterable[int]) -> None:
        """Prepare the rotary embedding of every size.

        Args:
            network: an ``Eva`` of timm with rotary position embedding alone.
            sizes: edges in pixels of the pictures that will come.

        Raises:
            ConfigError: a size is no multiple of the patch.
        """
        super().__init__()
        self.network: Any = network
        self.mask_token = nn.Parameter(torch.zeros(int(self.network.embed_dim)))
        self.prefix = int(self.network.num_prefix_tokens)
        for size in sorted(set(sizes)):
            if size % PATCH:
                raise ConfigError(f"a picture of {size} pixels is no multiple of the patch {PATCH}")
            grid = size // PATCH
            # Made here and not in the forward: timm computes it on the host, which would keep a
            # compiled graph waiting.
            rope = self.network.rope.get_embed(shape=[grid, grid])
            self.register_buffer(f"rope_{grid}", rope, persistent=False)

    @property
    def blocks(self) -> nn.ModuleList:
        """Those of timm's module."""
        return self.network.blocks

    def forward(self, pixels: Tensor, mask: Tensor | None = None) -> Tensor:
        """All tokens after the last norm.

        Args:
            pixels: (B, 3, S, S) normalised RGB, S among the sizes.
            mask: (B, N), true where a patch is hidden, row by row; None hides none.

        Returns:
            (B, P + N, D): class token, registers, patches.
        """
        network = self.network
        patches = network.patch_embed.proj(pixels)
        rope = getattr(self, f"rope_{patches.shape[-1]}")
        tokens = network.patch_embed.norm(patches.flatten(2).transpose(1, 2))
        if mask is not None:
            tokens = torch.where(mask[..., None], self.mask_token.to(tokens), tokens)
        rows = len(tokens)
        prefix = [network.cls_token.expand(rows, -1, -1), network.reg_token.expand(rows, -1, -1)]
        tokens = network.norm_pre(torch.cat([*prefix, tokens], dim=1))
        for block in network.blocks:
            tokens = block(tokens, rope=rope)
        return network.norm(tokens)
