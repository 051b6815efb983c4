"""Starting the real service as a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[2]
BENTOML = str(Path(sys.executable).parent / "bentoml")


def environment(home: Path, **variables: str) -> Mapping[str, str]:
    """Variables of a service that keeps its state in ``home``, and asks no telemetry to be off."""
    inherited = {k: v for k, v in os.environ.items() if k not in {"BENTOML_DO_NOT_TRACK"}}
    own = {"BENTOML_HOME": str(home / "bentoml"), "ROADWORK_RUNS": str(home / "runs")}
    return {**inherited, **own, "ROADWORK_THREADS": "1", **variables}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextlib.contextmanager
def serving(
    target: list[str], folder: Path, variables: Mapping[str, str], log: Path
) -> Iterator[str]:
    """Address of a started ``bentoml serve``; the process group is ended afterwards."""
    port = free_port()
    command = [BENTOML, "serve", *target, "--host", "127.0.0.1", "--port", str(port)]
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=variables,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        address = f"http://127.0.0.1:{port}"
        try:
            wait_until_ready(address, process, log)
            yield address
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def wait_until_ready(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 90
    while time.monotonic() < end:
        assert process.poll() is None, f"the service ended:\n{log.read_text()}"
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{address}/readyz").status_code == 200:
                return
        time.sleep(0.2)
    raise AssertionError(f"the service is not ready after 90 s:\n{log.read_text()}")
