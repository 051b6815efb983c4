from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from roadwork.bundle import ModelBundle
from tests.bundle.make_bundle import make_bundle
from tests.serving.server import ROOT, environment, serving


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    """A sealed bundle that no test may change."""
    return make_bundle(tmp_path_factory.mktemp("bundles") / "sealed")


@pytest.fixture(scope="session")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("log") / "service.log"


@pytest.fixture(scope="session")
def client(
    bundle: ModelBundle, log: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    """A client of the service that a plain ``bentoml serve`` starts in the root."""
    home = tmp_path_factory.mktemp("home")
    variables = environment(home, ROADWORK_BUNDLE=str(bundle.path))
    with (
        serving([], ROOT, variables, log) as address,
        httpx.Client(base_url=address, timeout=60) as client,
    ):
        yield client
