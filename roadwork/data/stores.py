"""Stores: what each object store needs, and its errors in words that say what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from roadwork.errors import ConfigError, DataError, RoadworkError

__all__ = ["STORES", "Store", "explained", "store_of"]


@dataclass(frozen=True)
class Store:
    """One kind of store.

    Attributes:
        package: what must be installed.
        access: how a user gives this process access.
        place: how a user says where the store is.
        options: of fsspec's file system.
        whole: options of reading a whole file.
    """

    package: str
    access: str
    place: str
    options: Mapping[str, Any] = field(default_factory=dict)
    whole: Mapping[str, Any] = field(default_factory=dict)


# A listing that is remembered hides what other processes have written since.
_FRESH = {"use_listings_cache": False}
_AWS = Store(
    "s3fs",
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE) of an account that may list "
    "the bucket and read its objects",
    "set AWS_ENDPOINT_URL for a store other than Amazon's, and AWS_REGION",
    _FRESH,
    # One request an image: s3fs would ask for the size first, to fetch parts of it in parallel.
    {"max_concurrency": 1},
)
_GOOGLE = Store(
    "gcsfs",
    "set GOOGLE_APPLICATION_CREDENTIALS to a key file, or run `gcloud auth application-default "
    "login`, for an account that may list and read the bucket",
    "check the network, and STORAGE_EMULATOR_HOST if it is set",
    _FRESH,
)
_HUB = Store(
    "huggingface-hub",
    "accept the data set's conditions on its page, then set HF_TOKEN to a token of that account",
    "check the network, HF_HUB_OFFLINE and HF_ENDPOINT",
)

STORES: Mapping[str, Store] = {
    "s3": _AWS,
    "s3a": _AWS,
    "gs": _GOOGLE,
    "gcs": _GOOGLE,
    "hf": _HUB,
    "memory": Store("fsspec", "nothing is needed", "nothing is needed"),
}
"""Stores by the protocol of their addresses."""

# Classes by name, base classes included: the packages that define them may not be installed.
_REFUSED = {
    "CredentialRetrievalError",
    "DefaultCredentialsError",
    "GatedRepoError",
    "LocalTokenNotFoundError",
    "NoCredentialsError",
    "PartialCredentialsError",
    "PermissionError",
    "ProfileNotFound",
    "RefreshError",
    "SSOError",
    "TokenRetrievalError",
}
_UNREACHABLE = {
    "ClientConnectionError",
    "ConnectionError",
    "FSTimeoutError",
    "HTTPClientError",
    "OfflineModeIsEnabled",
    "TimeoutError",
    "TransportError",
    "gaierror",
}
_MISNAMED = {"ParamValidationError", "InvalidConfigError", "NoRegionError", "HFValidationError"}


def store_of(uri: str) -> Store:
    """The store of an address.

    Raises:
        ConfigError: none is known.
    """
    protocol = uri.partition("://")[0]
    if protocol not in STORES:
        kinds = ", ".join(f"{name}://" for name in STORES)
        raise ConfigError(f"{uri}: no store is known for {protocol}://; known are {kinds}")
    return STORES[protocol]


@contextmanager
def explained(uri: str) -> Iterator[None]:
    """Turn a store's errors into ours; ``FileNotFoundError`` stays, save for a missing bucket.

    Raises:
        ConfigError: the package is missing, access is refused, or there is no such bucket.
        DataError: the store does not answer, or answers with an error that passed all retries.
    """
    try:
        yield
    except RoadworkError:
        raise
    except Exception as error:
        raise _translated(uri, error) from error


def _translated(uri: str, error: Exception) -> Exception:
    store = store_of(uri)
    names = {kind.__name__ for kind in type(error).__mro__}
    text = " ".join(str(error).split()) or type(error).__name__
    if "ImportError" in names:
        return ConfigError(
            f'{uri} needs the package {store.package}: pip install "roadwork[data]" ({text})'
        )
    if _code(error) == "NoSuchBucket" or "BucketNotFoundError" in names:
        return ConfigError(f"{uri}: there is no such bucket; check the name, and {store.place}")
    if "GatedRepoError" in names or (names & _REFUSED and "FileNotFoundError" not in names):
        return ConfigError(f"{uri}: access is refused ({text}): {store.access}")
    if _status(error) in {401, 403}:
        return ConfigError(f"{uri}: access is refused ({text}): {store.access}")
    if "FileNotFoundError" in names:
        return error
    if "RepositoryNotFoundError" in names:
        return ConfigError(f"{uri}: there is no such repository, or it is private: {store.access}")
    if names & _MISNAMED:
        return ConfigError(f"{uri} cannot be used ({text}): check the address, and {store.place}")
    if names & _UNREACHABLE:
        return DataError(f"{uri}: the store cannot be reached ({text}): {store.place}")
    return DataError(
        f"{uri}: the store answered with an error ({type(error).__name__}: {text}): try again "
        f"later; if it stays, {store.place}"
    )


def _code(error: BaseException) -> str | None:
    """Amazon's code of an error, which s3fs keeps as the cause."""
    for found in (error, error.__cause__):
        response = getattr(found, "response", None)
        if isinstance(response, dict):
            return response.get("Error", {}).get("Code")
    return None


def _status(error: BaseException) -> int | None:
    """HTTP status, as gcsfs (``code``) and the Hub's client (``response``) tell it."""
    code = getattr(error, "code", None) or getattr(
        getattr(error, "response", None), "status_code", None
    )
    try:
        return int(code) if code is not None else None
    except (TypeError, ValueError):
        return None
