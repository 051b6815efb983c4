"""The masked forward: timm's own answer without a mask, and only the mask's doing with one."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch._dynamo.testing import CompileCounter

from roadwork.errors import ConfigError
from roadwork.models.adapters import add_lora, explora_parameters, last_block, merge_lora
from roadwork.models.backbone import build_network
from roadwork.models.masked import MaskedTransformer
from tests.training.made_photos import INFO, NAME

SIZES = (32, 48, 64, 96)


def network(size: int = 64) -> Any:
    torch.manual_seed(3)
    return build_network(NAME, size, random=True).eval()


def pictures(size: int, count: int = 3) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(size))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("training", [False, True])
def test_without_a_mask_the_tokens_are_those_of_timm(size: int, training: bool) -> None:
    """timm's network must be made for the size; ours takes all of them with the same weights."""
    plain = network(size).train(training)
    masked = MaskedTransformer(network(64), SIZES).train(training)
    masked.network.load_state_dict(plain.state_dict())
    expected = plain.forward_features(pictures(size))
    assert torch.equal(masked(pictures(size)), expected)
    nothing = torch.zeros(3, (size // 16) ** 2, dtype=torch.bool)
    assert torch.equal(masked(pictures(size), nothing), expected)


def test_it_is_that_of_timm_with_images_of_any_size_too() -> None:
    plain = network()
    dynamic: Any = timm.create_model(
        INFO.timm_name,
        num_classes=0,
        global_pool="token",
        qkv_fused=False,
        img_size=64,
        dynamic_img_size=True,
        **INFO.arguments,
    ).eval()
    dynamic.load_state_dict(plain.state_dict())
    masked = MaskedTransformer(plain, SIZES)
    for size in SIZES:
        assert torch.equal(masked(pictures(size)), dynamic.forward_features(pictures(size)))


def test_what_is_hidden_cannot_be_seen() -> None:
    """Pixels of hidden patches change nothing; those of a seen patch, and the mask itself, do."""
    masked = MaskedTransformer(network(), [64])
    mask = torch.zeros(2, 16, dtype=torch.bool)
    mask[:, 5] = True  # second row, second column
    images = pictures(64, 2)
    other = images.clone()
    other[:, :, 16:32, 16:32] += 3.0
    with torch.no_grad():
        found = masked(images, mask)
        assert torch.equal(masked(other, mask), found)
        assert not torch.equal(masked(images), found)
        other[:, :, 16:32, 32:48] += 3.0
        assert not torch.equal(masked(other, mask), found)
        masked.mask_token.add_(1.0)
        assert not torch.equal(masked(images, mask), found)


def test_the_mask_token_starts_at_zero_learns_and_stays_out_of_the_network() -> None:
    masked = MaskedTransformer(network(), [64])
    assert not masked.mask_token.any()
    mask = torch.zeros(2, 16, dtype=torch.bool)
    mask[0, :4] = True
    masked(pictures(64, 2), mask)[:, masked.prefix :][mask].square().sum().backward()
    assert masked.mask_token.grad is not None
    assert float(masked.mask_token.grad.abs().min()) > 0
    assert not any("mask" in name for name in masked.network.state_dict())
    # Where nothing is hidden it still has a gradient, of zero: processes must agree on what has.
    masked.mask_token.grad = None
    masked(pictures(64, 2), torch.zeros_like(mask)).sum().backward()
    assert masked.mask_token.grad is not None
    assert not masked.mask_token.grad.any()


def test_adapters_work_inside_and_merge_to_a_plain_network() -> None:
    plain = network()
    masked = MaskedTransformer(plain, [32, 64])
    add_lora(plain, NAME, 2, 2, exclude=last_block(plain))
    generator = torch.Generator().manual_seed(1)
    for name, parameter in plain.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(generator=generator)
    with torch.no_grad():
        before = masked(pictures(32))
        merge_lora(plain)
        torch.testing.assert_close(masked(pictures(32)), before, atol=1e-5, rtol=1e-5)
    assert list(plain.state_dict()) == list(network().state_dict())


def test_a_size_that_is_no_multiple_of_the_patch_is_refused() -> None:
    with pytest.raises(ConfigError, match="40 pixels is no multiple of the patch 16"):
        MaskedTransformer(network(), [64, 40])


def test_explora_trains_nine_million_of_vit_b() -> None:
    """2.163 M of LoRA at rank 64, the last block, all norms and the class token: 9.286 M."""
    with torch.device("meta"):
        vit = build_network("vit_base_patch16_dinov3", 224)
        add_lora(vit, "vit_base_patch16_dinov3", 64, 64, exclude=last_block(vit))
        explora_parameters(vit)
    trained = {name: p.numel() for name, p in vit.named_parameters() if p.requires_grad}
    lora = {name: count for name, count in trained.items() if "lora_" in name}
    assert sum(lora.values()) == 11 * 2 * 2 * 64 * 768 == 2_162_688
    block = 4 * 768**2 + 2 * 768 * 3072  # four projections and the two layers of the network
    vectors = 768 + (3072 + 768) + 4 * 768 + 2 * 768  # biases, two norms, two layer scales
    norms = 11 * 4 * 768 + 2 * 768
    assert sum(trained.values()) == 2_162_688 + block + vectors + norms + 768
    assert round(sum(trained.values()) / 1e6, 3) == 9.286
    assert not any("blocks.11" in name for name in lora)
    assert "reg_token" not in trained and "cls_token" in trained


@pytest.mark.slow
def test_a_compiler_gets_whole_graphs_one_for_each_kind_of_crop() -> None:
    """Large ones with a mask, small ones without; the same answers."""
    masked = MaskedTransformer(network(), [32, 64])
    add_lora(masked.network, NAME, 2, 2, exclude=last_block(masked.network))
    mask = torch.zeros(3, 16, dtype=torch.bool)
    mask[1, 3:7] = True
    expected = [masked(pictures(64), mask), masked(pictures(32))]
    graphs = CompileCounter()
    try:
        masked.compile(backend=graphs, fullgraph=True)
        for _ in range(2):
            assert torch.equal(masked(pictures(64), mask), expected[0])
            assert torch.equal(masked(pictures(32)), expected[1])
    finally:
        masked._compiled_call_impl = None
        torch.compiler.reset()
    assert graphs.frame_count == 2
