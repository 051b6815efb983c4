"""Masks: the wanted number of patches, in blocks, the same for the same random numbers."""

from __future__ import annotations

import numpy as np
import pytest

from roadwork.training.masks import block_mask, draw_mask


@pytest.mark.parametrize("side", [1, 2, 3, 6, 14, 32])
def test_exactly_the_wanted_number_is_hidden(side: int) -> None:
    rng = np.random.default_rng(side)
    for wanted in {0, 1, side, side * side // 2, side * side}:
        mask = block_mask(rng, side, wanted)
        assert mask.shape == (side, side)
        assert int(mask.sum()) == wanted


def test_half_of_the_crops_have_a_tenth_to_a_half_hidden() -> None:
    rng = np.random.default_rng(0)
    shares = np.array([draw_mask(rng, 14, 0.5).mean() for _ in range(2000)])
    some = shares[shares > 0]
    assert 0.46 < len(some) / len(shares) < 0.54
    assert some.min() >= round(0.1 * 196) / 196
    assert some.max() <= round(0.5 * 196) / 196
    assert some.mean() == pytest.approx(0.3, abs=0.015)  # evenly drawn
    assert np.histogram(some, 4, (0.1, 0.5))[0].min() > 0.2 * len(some)


def test_never_and_always() -> None:
    rng = np.random.default_rng(0)
    assert not any(draw_mask(rng, 7, 0.0).any() for _ in range(50))
    # One patch at least, also where a tenth of the patches is none.
    assert all(draw_mask(rng, 2, 1.0).any() for _ in range(50))
    assert draw_mask(rng, 1, 1.0).tolist() == [True]


def test_patches_are_hidden_in_blocks() -> None:
    """Neighbours of a hidden patch are hidden far more often than by chance."""
    rng = np.random.default_rng(1)
    masks = np.stack([block_mask(rng, 14, 59) for _ in range(200)])  # 30 %
    pairs = masks[:, :, :-1] & masks[:, :, 1:]
    assert pairs.sum() / masks[:, :, :-1].sum() > 0.65


def test_the_random_numbers_alone_decide() -> None:
    first = draw_mask(np.random.default_rng(5), 14, 1.0)
    assert (draw_mask(np.random.default_rng(5), 14, 1.0) == first).all()
    assert (draw_mask(np.random.default_rng(6), 14, 1.0) != first).any()
