"""Files of a data set on the Hugging Face Hub, with their sizes and checksums."""

from __future__ import annotations

import urllib.parse
from typing import Any

from roadwork.data.fetch.http import Client
from roadwork.data.fetch.remote import Checksum, RemoteFile
from roadwork.errors import DataError

__all__ = ["HUB", "hub_token", "list_dataset"]

HUB = "https://huggingface.co"


def hub_token() -> str | None:
    """The token that the Hub's own tools would use: ``HF_TOKEN``, or that of a login."""
    from huggingface_hub import get_token

    return get_token()


def list_dataset(repository: str, client: Client, base_url: str = HUB) -> list[RemoteFile]:
    """Every file of the newest revision, sorted by name.

    The form is that of ``GET /api/datasets/{repository}?blobs=true``, which ``huggingface_hub``
    asks for too; addresses name the commit, so that a later revision is never mixed in.

    Raises:
        DataError: the Hub refuses or cannot be reached, or does not list what is needed.
    """
    base = base_url.rstrip("/")
    quoted = urllib.parse.quote(repository)
    listed = client.json(f"{base}/api/datasets/{quoted}?blobs=true")
    try:
        commit = str(listed["sha"])
        files = [
            RemoteFile(
                name=str(entry["rfilename"]),
                size=int(entry["size"]),
                url=f"{base}/datasets/{quoted}/resolve/{urllib.parse.quote(commit)}/"
                + urllib.parse.quote(entry["rfilename"]),
                checksum=_checksum(entry),
            )
            for entry in listed["siblings"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"the Hub's list of {repository} has another form than we know ({error!r}): a newer "
            "roadwork may know it; the files can also be downloaded by hand"
        ) from None
    return sorted(files, key=lambda file: file.name)


def _checksum(entry: Any) -> Checksum:
    if entry.get("lfs"):
        return Checksum("sha256", str(entry["lfs"]["sha256"]).lower())
    return Checksum("git-blob", str(entry["blobId"]).lower())
