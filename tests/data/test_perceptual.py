"""Perceptual hashes: what they ignore, what they see, and the search for close ones."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from roadwork.data.hamming import near_pairs
from roadwork.data.perceptual import clusters, perceptual_hash


def picture(seed: int, size: tuple[int, int] = (192, 108)) -> Image.Image:
    """Smooth noise: it has structure at all low frequencies."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (8, 12, 3), dtype=np.uint8))
    return coarse.resize(size, Image.Resampling.BICUBIC)


def distance(a: Image.Image, b: Image.Image) -> int:
    return (perceptual_hash(a) ^ perceptual_hash(b)).bit_count()


def test_bits_against_the_definition() -> None:
    """The naive sum of the discrete cosine transform (DCT-II), one coefficient at a time."""
    image = picture(1)
    grey = np.asarray(image.convert("L").resize((32, 32), Image.Resampling.BOX), float)
    waves = [np.cos(np.pi * (2 * np.arange(32) + 1) * u / 64) for u in range(8)]
    spectrum = [(grey * np.outer(down, across)).sum() for down in waves for across in waves]
    middle = np.median(spectrum[1:])
    bits = "".join("1" if value > middle else "0" for value in spectrum)
    assert perceptual_hash(image) == int(bits, 2)


@pytest.mark.parametrize("seed", range(5))
def test_a_copy_in_other_bytes_looks_the_same(seed: int) -> None:
    image = picture(seed)
    buffer = io.BytesIO()
    image.resize((150, 84)).save(buffer, "JPEG", quality=60)
    assert distance(image, Image.open(buffer)) <= 4


def test_other_pictures_look_different() -> None:
    hashes = [perceptual_hash(picture(seed)) for seed in range(30)]
    apart = [(a ^ b).bit_count() for i, a in enumerate(hashes) for b in hashes[:i]]
    assert min(apart) > 15


def test_brightness_is_ignored_and_mirroring_is_not() -> None:
    image = picture(3).point(lambda value: value // 2)
    assert distance(image, image.point(lambda value: value + 60)) <= 1
    assert distance(image, image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)) > 15


hash_arrays = hnp.arrays(np.uint64, st.integers(0, 30), elements=st.integers(0, 2**64 - 1))


bit_flips = st.tuples(st.integers(0, 29), st.sets(st.integers(0, 63), max_size=16))


def with_near(hashes: np.ndarray, flips: list[tuple[int, set[int]]]) -> np.ndarray:
    near = [
        hashes[index % len(hashes)] ^ np.uint64(sum(1 << bit for bit in bits))
        for index, bits in flips
        if len(hashes)
    ]
    return np.concatenate([hashes, np.array(near, np.uint64)])


def brute_force(hashes: np.ndarray, most: int) -> list[list[int]]:
    return [
        [i, j]
        for i in range(len(hashes))
        for j in range(i + 1, len(hashes))
        if (int(hashes[i]) ^ int(hashes[j])).bit_count() <= most
    ]


@given(hash_arrays, st.lists(bit_flips, max_size=10), st.integers(0, 15))
def test_near_pairs_are_those_of_brute_force(
    hashes: np.ndarray, flips: list[tuple[int, set[int]]], most: int
) -> None:
    hashes = with_near(hashes, flips)
    assert near_pairs(hashes, most).tolist() == brute_force(hashes, most)


@given(hash_arrays, st.lists(bit_flips, max_size=10), st.integers(0, 15), st.data())
def test_only_pairs_that_are_apart(
    hashes: np.ndarray, flips: list[tuple[int, set[int]]], most: int, data: st.DataObject
) -> None:
    hashes = with_near(hashes, flips)
    size = len(hashes)
    codes = np.array(data.draw(st.lists(st.integers(0, 3), min_size=size, max_size=size)), int)
    wanted = [[i, j] for i, j in brute_force(hashes, most) if codes[i] != codes[j]]
    assert near_pairs(hashes, most, apart=codes).tolist() == wanted


@pytest.mark.parametrize("most", [1, 4, 9, 15])
@pytest.mark.parametrize("mask", [2**64 - 1, 0xFF, 0xFFFF << 40, 0x0101010101010101, 0])
def test_hashes_that_use_few_bits(mask: int, most: int) -> None:
    """Bits that never change make most bands useless: the search stays exact."""
    rng = np.random.default_rng(most)
    hashes = rng.integers(0, 2**64, 300, dtype=np.uint64) & np.uint64(mask)
    i, j = np.triu_indices(300, 1)
    near = np.bitwise_count(hashes[i] ^ hashes[j]) <= most
    assert near_pairs(hashes, most).tolist() == np.stack([i, j], axis=1)[near].tolist()


def test_a_drive_of_black_frames_makes_no_pairs() -> None:
    """A hundred thousand equal hashes of one code are five billion pairs that nobody wants."""
    hashes = np.zeros(100_001, np.uint64)
    hashes[-1] = 1
    codes = np.zeros(len(hashes), int)
    assert near_pairs(hashes, 4, apart=codes).shape == (0, 2)
    codes[7] = 1
    pairs = near_pairs(hashes, 0, apart=codes)
    assert len(pairs) == 99_999
    assert (pairs == 7).any(axis=1).all()


def test_planted_pairs_among_many() -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, 100_000, dtype=np.uint64)
    for row in range(50):
        bits = rng.choice(64, 4, replace=False)
        hashes[row + 50_000] = hashes[row] ^ np.uint64(sum(1 << int(bit) for bit in bits))
    assert near_pairs(hashes, 3).tolist() == []
    assert near_pairs(hashes, 4).tolist() == [[row, row + 50_000] for row in range(50)]


def test_clusters_by_hand() -> None:
    assert clusters(0, []).tolist() == []
    assert clusters(2, []).tolist() == [0, 1]
    # 0-2-5, 1-4, 3 alone
    assert clusters(6, [(2, 5), (0, 2), (1, 4)]).tolist() == [0, 1, 0, 3, 1, 0]


@given(st.integers(1, 20), st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=30))
def test_clusters_are_connected_components(n: int, edges: list[tuple[int, int]]) -> None:
    edges = [(i % n, j % n) for i, j in edges]
    reach = np.eye(n, dtype=bool)
    for i, j in edges:
        reach[i, j] = reach[j, i] = True
    for k in range(n):
        reach |= np.outer(reach[:, k], reach[k])
    assert clusters(n, edges).tolist() == [int(np.flatnonzero(row)[0]) for row in reach]
