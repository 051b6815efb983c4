"""Uploads: the one image of a request, with every limit kept while the bytes arrive.

An image comes as the field ``image`` of a form, as the raw body, or as base64 in JSON. Whatever
is wrong with it raises :class:`UploadError`, which holds the HTTP status, a code for programs and a
sentence for people.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message, Receive

from roadwork.data.decode import Refusal, UnreadableImage
from roadwork.errors import InputError

__all__ = ["MAX_BYTES", "UploadError", "read_image", "refusal_of"]

MAX_BYTES = 20_000_000
"""Largest encoded image."""

_FRAMING = 65_536
"""Bytes that a form or JSON may have around the image."""

_DRAINED = 3 * MAX_BYTES
"""Excess that is received and dropped, so that the sender gets to read the refusal."""

_STATUS = {
    Refusal.MISSING: 400,
    Refusal.EMPTY: 400,
    Refusal.NOT_AN_IMAGE: 415,
    Refusal.CORRUPT: 422,
    Refusal.TOO_LARGE: 413,
    Refusal.TOO_SMALL: 422,
}


class UploadError(InputError):
    """A request that cannot be answered."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


def refusal_of(error: UnreadableImage) -> UploadError:
    """The HTTP form of an image that cannot be used."""
    code = "too_many_pixels" if error.reason is Refusal.TOO_LARGE else str(error.reason)
    return UploadError(_STATUS[error.reason], code, f"the image cannot be used: {error.detail}")


async def read_image(request: Request) -> bytes:
    """Bytes of the request's image, at most ``MAX_BYTES``.

    Raises:
        UploadError: empty or too long, an unknown content type, no field ``image``, broken JSON or
            base64.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        data = await _from_form(_limited(request, MAX_BYTES + _FRAMING))
    elif kind == "application/json":
        data = _from_json(await _limited(request, MAX_BYTES * 4 // 3 + _FRAMING).body())
    elif kind.startswith("image/") or kind == "application/octet-stream":
        data = await _limited(request, MAX_BYTES).body()
    else:
        raise UploadError(
            415,
            "unsupported_media_type",
            f"the content type {kind or '(none)'} is not supported: send a form "
            "(multipart/form-data) with the file field image, the raw image (image/*), or JSON "
            '{"image_base64": "…"}',
        )
    if not data:
        raise UploadError(400, "empty", "the image is empty: zero bytes were sent")
    if len(data) > MAX_BYTES:
        raise _too_long()
    return data


def _too_long() -> UploadError:
    return UploadError(
        413, "too_many_bytes", f"the image is larger than {MAX_BYTES // 1_000_000} MB: send less"
    )


def _limited(request: Request, limit: int) -> Request:
    """The same request, whose body stops with a refusal when it grows past the limit."""
    received = 0
    receive: Receive = request.receive

    async def counted() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received <= limit:
            return message
        while message.get("more_body") and received <= limit + _DRAINED:
            message = await receive()
            received += len(message.get("body", b""))
        raise _too_long()

    return Request(request.scope, counted)


async def _from_form(request: Request) -> bytes:
    try:
        form = await request.form(max_files=4, max_fields=16, max_part_size=_FRAMING)
    except HTTPException as error:
        raise UploadError(400, "invalid_form", f"the form cannot be read: {error.detail}") from None
    try:
        found = form.getlist("image")
        if len(found) != 1 or not isinstance(found[0], UploadFile):
            fields = ", ".join(sorted(set(form))) or "none"
            raise UploadError(
                422,
                "wrong_field",
                f"the form must have exactly one file in the field image (fields sent: {fields})",
            )
        return await found[0].read()
    finally:
        await form.close()


def _from_json(body: bytes) -> bytes:
    if not body:
        return b""
    try:
        tree: Any = json.loads(body)
    except (ValueError, RecursionError):
        raise UploadError(400, "invalid_json", "the body is no valid JSON") from None
    text = tree.get("image_base64") if isinstance(tree, dict) else None
    if not isinstance(text, str):
        raise UploadError(
            422, "wrong_field", 'the JSON must be an object with the string "image_base64"'
        )
    try:
        return base64.b64decode(
            text.partition(",")[2] if text[:5] == "data:" else text, validate=True
        )
    except (binascii.Error, ValueError):
        raise UploadError(422, "invalid_base64", "image_base64 is no valid base64") from None
