"""Embeddings: unit vectors in order; a re-cut copy is nearer than another street."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from roadwork.data.scenes import render_scene
from roadwork.errors import DataError
from roadwork.models.embedder import embed_images


def test_a_copy_in_another_form_is_the_nearest(tmp_path: Path) -> None:
    uris = []
    for seed in (1, 2, 3):
        picture = render_scene(seed, False, width=256, height=144)
        uris.append(str(tmp_path / f"{seed}.jpg"))
        picture.save(uris[-1], quality=92)
    copy = render_scene(2, False, width=256, height=144).crop((8, 4, 250, 140)).resize((200, 112))
    uris.append(str(tmp_path / "copy.jpg"))
    copy.save(uris[-1], quality=60)
    vectors = embed_images(uris)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    cosines = vectors @ vectors[3]
    assert cosines[:3].argmax() == 1
    np.testing.assert_allclose(embed_images(uris[2:3])[0], vectors[2], atol=1e-5)


def test_an_image_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.jpg was readable"):
        embed_images([str(tmp_path / "gone.jpg")])


def test_nothing_gives_nothing() -> None:
    assert embed_images([]).shape == (0, 1280)
