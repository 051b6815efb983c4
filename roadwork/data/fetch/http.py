"""HTTP for downloads: patient with servers that are busy, plain about those that refuse."""

from __future__ import annotations

import email.utils
import http.client
import json
import logging
import random
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from roadwork import __version__
from roadwork.errors import DataError

__all__ = ["BROKEN", "Client"]

logger = logging.getLogger(__name__)

_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
_LONGEST_PAUSE = 300.0

BROKEN = (
    urllib.error.URLError,
    http.client.HTTPException,
    ssl.SSLError,
    TimeoutError,
    ConnectionError,
)
"""What a connection that breaks raises."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but never from an encrypted address to a plain one."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise DataError(f"{req.full_url} redirects to {newurl}, which is not encrypted")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@dataclass(frozen=True)
class Client:
    """How servers are asked.

    Attributes:
        token: sent as ``Authorization: Bearer`` to the address asked for, and to nobody that it
            redirects to.
        attempts: how often a request is tried before it counts as failed.
        timeout: seconds without a byte before a connection counts as broken.
        pause: waits that many seconds.
    """

    token: str | None = None
    attempts: int = 6
    timeout: float = 60.0
    pause: Callable[[float], None] = time.sleep

    def open(self, url: str, headers: Mapping[str, str] | None = None) -> Any:
        """Answer to a GET request: a response to read and to close.

        A busy server (429 and 5xx) and a broken connection are tried again after a growing, random
        pause, or after the one that the server asks for with ``Retry-After``.

        Raises:
            DataError: the server refuses, has no such file, or cannot be reached.
        """
        request = urllib.request.Request(url, headers=dict(headers or {}))
        request.add_header("User-Agent", f"roadwork/{__version__}")
        if self.token:
            request.add_unredirected_header("Authorization", f"Bearer {self.token}")
        opener = urllib.request.build_opener(_Redirects)
        reason = ""
        for attempt in range(1, self.attempts + 1):
            try:
                return opener.open(request, timeout=self.timeout)
            except urllib.error.HTTPError as error:
                with error:
                    if error.code == 416:  # the caller asked for bytes behind the end
                        raise
                    if error.code not in _BUSY:
                        raise DataError(_refusal(url, error, self.token)) from None
                    reason = f"it answers {error.code} {error.reason}"
                    wanted = _retry_after(error.headers.get("Retry-After"))
            except BROKEN as error:
                if _is_forged(error):
                    raise DataError(
                        f"{_host(url)} does not prove that it is {_host(url)}: {_reason(error)}. "
                        "Nothing was downloaded; ask whoever runs your network"
                    ) from None
                reason, wanted = _reason(error), None
            if attempt < self.attempts:
                self.wait(attempt, f"{_host(url)}: {reason}", wanted)
        raise DataError(
            f"{_host(url)} could not be asked for {url} in {self.attempts} attempts: {reason}. "
            "Check the network (and HTTPS_PROXY, if you need one) and run the same command again: "
            "it goes on where it stopped"
        )

    def json(self, url: str) -> Any:
        """The answer of an interface, read as JSON.

        Raises:
            DataError: as :meth:`open`, or the answer is no JSON.
        """
        data = self._read(url)
        try:
            return json.loads(data)
        except ValueError:
            raise DataError(f"{url} did not answer with JSON but with: {data[:80]!r}") from None

    def _read(self, url: str) -> bytes:
        attempt = 1
        while True:
            try:
                with self.open(url, {"Accept": "application/json"}) as answer:
                    return answer.read()
            except BROKEN as error:
                if attempt == self.attempts:
                    raise DataError(
                        f"{url} broke off {attempt} times ({_reason(error)}): try again later"
                    ) from None
                self.wait(attempt, f"{_host(url)}: {_reason(error)}")
                attempt += 1

    def wait(self, attempt: int, reason: str, wanted: float | None = None) -> None:
        """Pause before the next attempt; ``wanted`` seconds if the server asks for them."""
        grown = min(_LONGEST_PAUSE, 2.0 ** (attempt - 1)) * random.uniform(0.5, 1.0)
        seconds = grown if wanted is None else min(wanted, _LONGEST_PAUSE)
        logger.info("%s; trying again in %.0f s", reason, seconds)
        self.pause(seconds)


def _is_forged(error: BaseException) -> bool:
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    return isinstance(inner, ssl.SSLCertVerificationError)


def _reason(error: BaseException) -> str:
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    return str(inner) or type(inner).__name__


def _host(url: str) -> str:
    return urllib.parse.urlsplit(url).netloc


def _retry_after(value: str | None) -> float | None:
    """Seconds that a ``Retry-After`` header asks for: a number, or a date (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def _refusal(url: str, error: urllib.error.HTTPError, token: str | None) -> str:
    said = error.headers.get("X-Error-Message")
    because = f" ({said})" if said else ""
    if error.code in (401, 403):
        with_token = (
            "the token that was sent is not accepted, or its account has not agreed to the terms"
            if token
            else "no token was sent"
        )
        return (
            f"{_host(url)} refuses access to {url}: {error.code} {error.reason}{because}; "
            f"{with_token}. Open the data set's page in a browser, sign in, accept its terms, make "
            "a read token, and set HF_TOKEN to it"
        )
    if error.code == 404:
        return f"there is nothing at {url} (404){because}: it may have moved; see the page of it"
    return f"{_host(url)} answers {error.code} {error.reason} for {url}{because}"
