"""A local S3 server for tests: ``with s3_server() as endpoint``; needs moto[server] and s3fs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

BUCKET = "photographs"


def environment(endpoint: str) -> dict[str, str]:
    """Variables that lead every client of S3 to the local server."""
    return {
        "AWS_ACCESS_KEY_ID": "made",
        "AWS_SECRET_ACCESS_KEY": "made",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "1",
        "AWS_CONFIG_FILE": "/nowhere/config",
        "AWS_SHARED_CREDENTIALS_FILE": "/nowhere/credentials",
        "NO_PROXY": "127.0.0.1,localhost",
    }


@contextmanager
def s3_server() -> Iterator[str]:
    """Address of a server that lives as long as the context."""
    pytest.importorskip("s3fs", reason='needs pip install "roadwork[data]"')
    moto = pytest.importorskip("moto.server", reason='needs pip install "moto[server]"')
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def forget_clients() -> None:
    """Let the next address be opened with the variables of that moment."""
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
