from __future__ import annotations

from collections.abc import Iterator

import pytest

from roadwork.data.splits import Splits
from roadwork.models.backbone import BACKBONES
from roadwork.models.classifier import Classifier
from tests.cascade.chain import classifier_of
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


@pytest.fixture(scope="session")
def classifier(
    two_blocks: None, sets: Splits, tmp_path_factory: pytest.TempPathFactory
) -> Classifier:
    return classifier_of(sets, tmp_path_factory.mktemp("classifier"))
