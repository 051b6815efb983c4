from __future__ import annotations

import pytest

from roadwork.bundle import ModelBundle
from tests.bundle.make_bundle import make_bundle


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    """A sealed bundle that no test may change."""
    return make_bundle(tmp_path_factory.mktemp("bundles") / "sealed")
