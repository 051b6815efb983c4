from __future__ import annotations

from collections.abc import Iterator

import pytest

from roadwork.models.backbone import BACKBONES
from tests.training.made_photos import INFO, NAME


@pytest.fixture(autouse=True, scope="session")
def two_blocks() -> Iterator[None]:
    """The registry knows the small backbone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, NAME, INFO)
        yield
