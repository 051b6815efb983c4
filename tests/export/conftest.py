from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from roadwork.data.splits import Splits
from roadwork.models.backbone import BACKBONES
from tests.training.made_photos import INFO, NAME, photo_sets


@pytest.fixture(autouse=True, scope="session")
def two_blocks() -> Iterator[None]:
    """The registry knows the small backbone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, NAME, INFO)
        yield


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    """The torch engine sets threads for the whole process, and sums depend on their number."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Splits:
    return photo_sets(tmp_path_factory.mktemp("photos"))
