"""Object stores for tests: an S3 server of our own, and fsspec's memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.data import s3


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """Address of a local S3 server; one for all tests of a process."""
    with s3.s3_server() as endpoint:
        s3.forget_clients()
        yield endpoint


@pytest.fixture
def s3_bucket(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """``s3://…`` of an empty bucket on the local server; the variables lead there."""
    import s3fs

    for name, value in s3.environment(s3_endpoint).items():
        monkeypatch.setenv(name, value)
    # The client of an earlier test leads to the same server, and takes a second to make.
    store = s3fs.S3FileSystem(use_listings_cache=False)
    store.mkdir(s3.BUCKET)
    yield f"s3://{s3.BUCKET}"
    store.rm(s3.BUCKET, recursive=True)


@pytest.fixture
def other_clients() -> Iterator[None]:
    """For tests that change the variables: their client is not left to the next test."""
    yield
    s3.forget_clients()


@pytest.fixture
def memory() -> Iterator[str]:
    """``memory://…`` of an empty folder."""
    import fsspec

    store = fsspec.filesystem("memory")
    store.store.clear()
    yield "memory://made"
    store.store.clear()
    store.pseudo_dirs[:] = [""]
