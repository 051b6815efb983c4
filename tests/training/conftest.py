from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from roadwork.data.splits import Splits
from roadwork.models.backbone import BACKBONES
from tests.training.made_photos import INFO, NAME, photo_sets


@pytest.fixture(autouse=True, scope="session")
def two_blocks() -> Iterator[None]:
    """The registry knows the small backbone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, NAME, INFO)
        yield


@pytest.fixture(scope="session")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Splits:
    return photo_sets(tmp_path_factory.mktemp("photos"))


@pytest.fixture
def checkpoints(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


@pytest.fixture(autouse=True, scope="session")
def still_clock() -> Iterator[None]:
    """Two histories are equal when all but the seconds of their curves is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("roadwork.training.recorder._clock", lambda: 0.0)
        yield
