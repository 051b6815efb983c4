"""Files of an article on figshare (KiltHub is CMU's part of it), with sizes and checksums."""

from __future__ import annotations

from roadwork.data.fetch.http import Client
from roadwork.data.fetch.remote import Checksum, RemoteFile
from roadwork.errors import DataError

__all__ = ["FIGSHARE", "list_article"]

FIGSHARE = "https://api.figshare.com/v2"
_PAGE = 100  # figshare's own default, 10, would hide most files of a large article


def list_article(article: int, client: Client, base_url: str = FIGSHARE) -> list[RemoteFile]:
    """Every file of the newest version of a public article, sorted by name.

    The form is that of ``GET /articles/{article}/files``: ``name``, ``size``, ``download_url``,
    ``computed_md5``, page by page.

    Raises:
        DataError: figshare refuses or cannot be reached, or does not list what is needed.
    """
    base = base_url.rstrip("/")
    files: list[RemoteFile] = []
    page = 1
    while True:
        url = f"{base}/articles/{article}/files?page={page}&page_size={_PAGE}"
        listed = client.json(url)
        try:
            files += [
                RemoteFile(
                    name=str(entry["name"]),
                    size=int(entry["size"]),
                    url=str(entry["download_url"]),
                    checksum=Checksum("md5", str(entry["computed_md5"]).lower()),
                )
                for entry in listed
                if not entry.get("is_link_only")
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"figshare's list of article {article} has another form than we know ({error!r}): "
                "a newer roadwork may know it; the files can also be downloaded by hand"
            ) from None
        if len(listed) < _PAGE:
            return sorted(files, key=lambda file: file.name)
        page += 1
