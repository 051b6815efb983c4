"""Every test process keeps its state to itself: no user's ZenML, MLflow or runs are touched."""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import signal
import tempfile
from pathlib import Path
from typing import Any

import pytest

from roadwork.environment import TELEMETRY_OFF

# ZenML's log handler starts a thread when logging shuts down, which Python 3.12 refuses.
atexit.register(setattr, logging, "raiseExceptions", False)

_STATE = Path(tempfile.mkdtemp(prefix="roadwork-tests-"))

# ZenML reads these when it is first imported, hence here and not in a fixture.
os.environ.update(
    TELEMETRY_OFF,
    ZENML_CONFIG_PATH=str(_STATE / "zenml"),
    ZENML_REPOSITORY_PATH=str(_STATE),
    ZENML_LOGGING_VERBOSITY="WARNING",
    ZENML_ENABLE_RICH_TRACEBACK="false",
    MPLCONFIGDIR=str(_STATE / "matplotlib"),
)
for _name in [name for name in os.environ if name.startswith(("ROADWORK_", "WANDB_"))]:
    if _name not in TELEMETRY_OFF:
        del os.environ[_name]

# A shell's background jobs ignore interrupts, and their children inherit it: tests send some.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_sessionfinish() -> None:
    """Remove this process's state."""
    shutil.rmtree(_STATE, ignore_errors=True)


@pytest.fixture(scope="session")
def zenml() -> Any:
    """ZenML's client on an empty store of its own; the first use takes seconds."""
    import warnings

    with warnings.catch_warnings():
        # ZenML imports every integration that is installed; their warnings are not ours.
        warnings.simplefilter("ignore")
        from zenml.client import Client

        Client.initialize(_STATE)
        client = Client()
        client.active_stack_model  # noqa: B018 - creates the store
        from zenml.integrations.registry import integration_registry

        integration_registry.activate_integrations()
    return client
